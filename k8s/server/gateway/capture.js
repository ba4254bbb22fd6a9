// What the gateway keeps of the traffic: counters, the last requests' times, and a sample of requests with responses.
//
// All is in small files of a fixed number, overwritten in turn, so it never grows beyond about 20 MB. The one worker
// runs this code to its end for each request, so nothing is interleaved. Whatever fails here, the client never notices.
// Fields named in CAPTURE_DROP are taken out before anything is written; a body that this cannot be done to is not kept.
import crypto from 'crypto';
import fs from 'fs';

const FOLDER = '/var/lib/gateway/';
const EVERY = Number(process.env.CAPTURE_EVERY) || 10;      // of so many predictions one is captured
const DROP = (process.env.CAPTURE_DROP || '').split(',').filter((name) => name !== '');
const VERSION = process.env.MODEL_VERSION || '';
const RELEASE = process.env.RELEASE || '';                  // the image that runs
const BODY = 16384;          // what is longer, request or response, is counted and not captured; characters
const COUNTED = ['requests', 'errors', 'refused', 'turned_away', 'sampled', 'unread', 'failed', 'cached'];
const COUNTS = 256;          // characters of the counters' file, whatever they have reached
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
        const cached = asked.upstream_cache_status === 'HIT';                // an answer of this version, given again
        if (status === 499 || (status < 500 && !asked.upstream_status && !cached)) {   // the version had no part in it:
            counts.turned_away += 1;                                         // nginx refused it, or its client was gone
            write_counts(counts);
            return '';
        }
        counts.requests += 1;
        counts.errors += status >= 500 ? 1 : 0;
        counts.refused += status >= 400 && status < 500 ? 1 : 0;             // by the server, as the client's fault
        counts.cached += cached ? 1 : 0;
        write_counts(counts);
        if (!cached) {                                                       // its time says nothing of the version
            const seconds = Number(asked.request_time);
            add(RECENT, counts.requests - counts.cached, {number: counts.requests, status: status, seconds: seconds});
        }
        const request = asked.request_body;
        if ((counts.requests - 1) % EVERY !== 0) {
            return '';
        }
        counts.sampled += 1;
        const readable = request && request.length <= BODY && !asked.http_content_encoding;
        const kept = whole && readable ? without(request, response, status) : null;
        if (kept === null) {
            counts.unread += 1;
            write_counts(counts);
            return '';
        }
        write_counts(counts);
        const entry = {number: counts.requests, id: asked.id, time: asked.time_iso8601, path: asked.uri, status: status};
        entry.version = VERSION;
        entry.release = RELEASE;
        entry.dropped = DROP;
        entry.request = kept[0];
        entry.response = kept[1];
        add(CAPTURED, (counts.requests - 1) / EVERY + 1, entry);
        return 'yes';
    } catch (error) {
        try {
            const counts = read_counts();
            counts.failed += 1;
            write_counts(counts);
        } catch (worse) {
            // then the count of what is kept says it
        }
        return 'failed';
    }
}

// What two requests must have in common for one answer: release, version, path, packing, and every byte of the body. Of a
// digest of 256 bits, so that nobody finds two bodies of one, and that the cache holds no request. Empty: not to be kept.
function answer_key(r) {
    try {
        const asked = r.rawVariables;
        const key = crypto.createHash('sha256').update(RELEASE + '\n' + VERSION + '\n');
        key.update(asked.request_uri).update('\n').update(asked.http_content_encoding || '').update('\n');
        return key.update(asked.request_body || '').digest('hex');
    } catch (error) {
        return '';
    }
}

// Both bodies without the fields that are dropped. A refusal may repeat what was sent, so nothing is kept of its text.
function without(request, response, status) {
    if (DROP.length === 0) {
        return [request, response];
    }
    const read = [request, status === 200 ? response : '{}'].map((text) => {
        try {
            return JSON.parse(text.replace(/\b(NaN|-?Infinity)\b/g, 'null'));
        } catch (error) {
            return null;
        }
    });
    if (read[0] === null || read[1] === null) {
        return null;
    }
    return read.map((value) => JSON.stringify(pruned(value)));
}

function pruned(value) {
    if (Array.isArray(value)) {
        return value.map(pruned);
    }
    if (value === null || typeof value !== 'object') {
        return value;
    }
    const found = {};
    Object.keys(value).forEach((name) => {
        if (!DROP.includes(name)) {
            found[name] = pruned(value[name]);
        }
    });
    return found;
}

function traffic(r) {
    const counts = read_counts();
    counts.version = VERSION;
    counts.recent = entries(RECENT);
    r.return(200, JSON.stringify(counts));
}

function captured(r) {
    r.return(200, JSON.stringify(entries(CAPTURED)));
}

function read_counts() {
    try {
        const found = JSON.parse(fs.readFileSync(FOLDER + 'counts', 'utf8'));
        if (COUNTED.every((key) => Number.isInteger(found[key]))) {
            return found;
        }
    } catch (error) {
        // none yet, or damaged
    }
    remove(FOLDER + 'counts');
    [RECENT, CAPTURED].forEach((ring) => {      // numbered by counts that are gone
        for (let file = 0; file < ring.files; file++) {
            remove(path(ring, file));
        }
    });
    const none = {};
    COUNTED.forEach((name) => {
        none[name] = 0;
    });
    return none;
}

// In place and by one write, so that the file is whole whenever the container ends. Renaming a new one would be as safe,
// but then file systems such as ext4 write to the disk for each request.
function write_counts(counts) {
    const text = JSON.stringify(counts).padEnd(COUNTS);
    try {
        const file = fs.openSync(FOLDER + 'counts', 'r+');
        try {
            fs.writeSync(file, text, 0);
        } finally {
            fs.closeSync(file);
        }
    } catch (error) {
        fs.writeFileSync(FOLDER + 'counts', text);      // the first time
    }
}

function remove(name) {
    try {
        fs.unlinkSync(name);
    } catch (error) {
        // it is not there
    }
}

function path(ring, file) {
    return FOLDER + ring.name + '-' + (file % ring.files);
}

function add(ring, number, entry) {
    const place = number - 1;
    const name = path(ring, Math.floor(place / ring.per_file));
    const line = '\n' + JSON.stringify(entry);  // in this order half a line before it spoils no more than itself
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
            const entry = parsed(line);
            if (entry !== null) {
                found.push(entry);
            }
        });
    }
    return found.sort((one, other) => one.number - other.number);
}

// A line that was not written whole holds no entry.
function parsed(line) {
    try {
        const entry = JSON.parse(line);
        return entry !== null && Number.isInteger(entry.number) ? entry : null;
    } catch (error) {
        return null;
    }
}

export default {answer_key, body, keep, traffic, captured};
