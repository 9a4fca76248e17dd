// Pulls an image with docker-registry-client 3.4.0, as independent a client of
// the first registry protocol as there is: ping, image list, tags, ancestry,
// every JSON and every layer. Prints one JSON document with what it got.
//
// usage: node pull.js http://HOST:PORT/NAME TAG
'use strict';

const crypto = require('crypto');
const drc = require('docker-registry-client');

const [name, tag] = process.argv.slice(2);
const client = drc.createClientV1({ name: name, insecure: true, userAgent: 'docker/1.3.3 docker-registry-client/3.4.0' });

const call = (method, ...args) => new Promise((resolve, reject) =>
    client[method](...args, (err, value) => err ? reject(err) : resolve(value)));

function layer(id) {
    return new Promise((resolve, reject) => {
        client.getImgLayerStream({ imgId: id }, (err, stream) => {
            if (err) {
                return reject(err);
            }
            const hash = crypto.createHash('sha256');
            let size = 0;
            stream.on('data', (d) => { hash.update(d); size += d.length; });
            stream.on('error', reject);
            stream.on('end', () => resolve({ sha256: hash.digest('hex'), size: size }));
            stream.resume();
        });
    });
}

async function main() {
    const out = { ping: await call('ping'), images: await call('listRepoImgs'), tags: await call('listRepoTags') };
    // Not all servers answer this one in JSON, or for the tag alone.
    out.answer = await call('getImgId', { tag: tag }).catch(() => null);
    out.id = out.tags[tag];
    out.ancestry = await call('getImgAncestry', { imgId: out.id });
    out.json = [];
    out.layers = [];
    for (const id of out.ancestry) {
        out.json.push(await call('getImgJson', { imgId: id }));
        out.layers.push(await layer(id));
    }
    console.log(JSON.stringify(out));
    client.close();
}

main().catch((err) => {
    console.error(err.stack || err);
    process.exit(1);
});
