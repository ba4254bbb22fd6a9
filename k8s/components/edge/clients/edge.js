// Who asks: by an API key, of which only the SHA-256 is kept here, or by a JSON Web Token (HS256, with an end, for us).
// The Secret's files are read for each request, so that a key that is added or taken away counts at once.
import crypto from 'crypto';
import fs from 'fs';

const FOLDER = '/etc/edge-clients/';
const AUDIENCE = 'model';
const LONGEST = 4096;        // of what is checked; characters
const KEY = '.sha256';       // NAME.sha256 has the digest of NAME's key
const SECRET = 'jwt.key';    // signs tokens; there need be none

function client(r) {
    try {
        const key = r.headersIn['X-API-Key'];
        const token = r.headersIn['Authorization'];
        if (key && key.length <= LONGEST) {
            return by_key(key);
        }
        if (token && token.length <= LONGEST && token.startsWith('Bearer ')) {
            return by_token(token.slice(7));
        }
    } catch (error) {
        r.warn('a client could not be checked: ' + error.message);
    }
    return '';
}

function by_key(key) {
    const found = digest(key);
    const known = fs.readdirSync(FOLDER).find(function (name) {
        return name.endsWith(KEY) && fs.readFileSync(FOLDER + name).toString().trim() === found;
    });
    return known ? 'key ' + known.slice(0, -KEY.length) : '';
}

function by_token(token) {
    const parts = token.split('.');
    if (parts.length !== 3 || !fs.readdirSync(FOLDER).includes(SECRET)) {
        return '';
    }
    const secret = fs.readFileSync(FOLDER + SECRET);
    if (secret.length < 32 || json(parts[0]).alg !== 'HS256') {
        return '';
    }
    const signed = crypto.createHmac('sha256', secret).update(parts[0] + '.' + parts[1]).digest('base64url');
    if (digest(signed) !== digest(parts[2])) {          // of digests, so that time tells nothing of the signature
        return '';
    }
    const claims = json(parts[1]), now = Date.now() / 1000;
    const audience = Array.isArray(claims.aud) ? claims.aud : [claims.aud];
    const current = typeof claims.exp === 'number' && now < claims.exp && !(claims.nbf > now);
    return current && audience.includes(AUDIENCE) && typeof claims.sub === 'string' ? 'token ' + claims.sub : '';
}

function digest(text) {
    return crypto.createHash('sha256').update(text).digest('hex');
}

function json(part) {
    return JSON.parse(Buffer.from(part, 'base64url').toString());
}

export default {client};
