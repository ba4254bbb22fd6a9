// What the gateway keeps of the traffic: counters, the last requests' times, and a sample of requests with responses.
//
// All is in small files of a fixed number, overwritten in turn, so it never grows beyond about 20 MB. The one worker
// runs this code to its end for each request, so nothing is interleaved. Whatever fails here, the client never notices.
import fs from 'fs';

const FOLDER = '/var/lib/gateway/';
const EVERY = 10;            // of so many predictions one is captured
const BODY = 16384;          // what is longer, request or response, is counted and not captured; characters
const RECENT = {name: 'recent', per_file: 256, files: 16};
const CAPTURED = {name: 'captured', per_file: 16, files: 32};

let response = '';           // each request has variables of its own
let whole = true;

function body(r, data, flags) {
    try {
        if (response.length + data.length <= BODY) {
            response += data.toString();
        } else {
            whole = false;
        }
    } catch (error) {
        whole = false;
    }
    r.sendBuffer(data, flags);
}

function keep(r) {
    try {
        const asked = r.variables;
        if (asked.request_method !== 'POST') {
            return '';
        }
        const counts = read_counts();
        const status = Number(asked.status);
        counts.requests += 1;
        counts.errors += status >= 500 || status === 499 || !status ? 1 : 0;   // 499: its client gave up waiting
        counts.refused += status >= 400 && status < 499 ? 1 : 0;               // as the client's fault
        fs.writeFileSync(FOLDER + 'counts', JSON.stringify(counts));
        const seconds = Number(asked.request_time);
        add(RECENT, counts.requests, {number: counts.requests, status: status, seconds: seconds});
        const request = asked.request_body;
        if (counts.requests % EVERY !== 1 || !whole || !request || request.length > BODY) {
            return '';
        }
        const entry = {number: counts.requests, time: asked.time_iso8601, path: asked.uri, status: status};
        entry.request = request;
        entry.response = response;
        add(CAPTURED, (counts.requests - 1) / EVERY + 1, entry);
        return 'yes';
    } catch (error) {
        return 'failed';
    }
}

function traffic(r) {
    const counts = read_counts();
    counts.recent = entries(RECENT);
    r.return(200, JSON.stringify(counts));
}

function captured(r) {
    r.return(200, JSON.stringify(entries(CAPTURED)));
}

function read_counts() {
    try {
        return JSON.parse(fs.readFileSync(FOLDER + 'counts', 'utf8'));
    } catch (error) {
        return {requests: 0, errors: 0, refused: 0};
    }
}

function path(ring, file) {
    return FOLDER + ring.name + '-' + (file % ring.files);
}

function add(ring, number, entry) {
    const place = number - 1;
    const name = path(ring, Math.floor(place / ring.per_file));
    const line = JSON.stringify(entry) + '\n';
    if (place % ring.per_file === 0) {
        fs.writeFileSync(name, line);
    } else {
        fs.appendFileSync(name, line);
    }
}

function entries(ring) {
    const found = [];
    for (let file = 0; file < ring.files; file++) {
        let text = '';
        try {
            text = fs.readFileSync(path(ring, file), 'utf8');
        } catch (error) {
            continue;
        }
        text.split('\n').forEach((line) => {
            if (line) {
                found.push(JSON.parse(line));
            }
        });
    }
    return found.sort((one, other) => one.number - other.number);
}

export default {body, keep, traffic, captured};
