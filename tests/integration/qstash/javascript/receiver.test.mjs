import assert from "node:assert/strict";
import { mock, test } from "node:test";

import { Destination, TOKEN, URLS, ask, client, receiver } from "./desk.mjs";
import { Client, Receiver } from "./sdk.mjs";

const CURRENT = process.env.QSTASH_CURRENT_SIGNING_KEY;
const NEXT = process.env.QSTASH_NEXT_SIGNING_KEY;
const signatureError = (message) => ({ name: "SignatureError", message });

// A delivery as a receiver gets it.
async function delivery(t, body = '{"n":1}') {
  const destination = await Destination.open(t);
  const url = `${destination.url}/api?x=1`;
  await client.publish({ url, body });
  const [arrival] = await destination.wait();
  return {
    signature: arrival.headers["upstash-signature"],
    body: arrival.body,
    url,
    region: arrival.headers["upstash-region"],
  };
}

test("a delivery is accepted with the current key", async (t) => {
  const { signature, body, url } = await delivery(t);
  assert.equal(await receiver.verify({ signature, body, url }), true);
  assert.equal(await receiver.verify({ signature, body }), true);
  assert.ok(
    await new Receiver({ currentSigningKey: CURRENT, nextSigningKey: "sig_other" }).verify({ signature, body, url }),
  );
});

test("an empty and a large body are accepted", async (t) => {
  for (const text of ["", "ä".repeat(500_000)]) {
    const { signature, body, url } = await delivery(t, text);
    assert.equal(body, text);
    assert.ok(await receiver.verify({ signature, body, url }));
  }
});

test("another address, another body and other keys are refused", async (t) => {
  const { signature, body, url } = await delivery(t);
  await assert.rejects(receiver.verify({ signature, body, url: `${url}&y=2` }), signatureError(/invalid subject/));
  await assert.rejects(
    receiver.verify({ signature, body: `${body} `, url }),
    signatureError(/body hash does not match/),
  );
  const strangers = new Receiver({ currentSigningKey: "sig_other", nextSigningKey: "sig_another" });
  await assert.rejects(strangers.verify({ signature, body, url }), signatureError(/signature verification failed/));
  const [header, , hash] = signature.split(".");
  const forged = Buffer.from(JSON.stringify({ iss: "Upstash", sub: url })).toString("base64url");
  await assert.rejects(
    receiver.verify({ signature: `${header}.${forged}.${hash}`, body, url }),
    signatureError(/verification failed/),
  );
  await assert.rejects(receiver.verify({ signature: "none", body, url }), signatureError(/Compact JWS/));
});

test("a signature expires after five minutes, with some tolerance if the receiver says so", async (t) => {
  const { signature, body, url } = await delivery(t);
  const now = Date.now();
  t.after(() => mock.timers.reset());
  mock.timers.enable({ apis: ["Date"], now: now + 290_000 });
  assert.ok(await receiver.verify({ signature, body, url }));
  mock.timers.setTime(now + 330_000);
  await assert.rejects(receiver.verify({ signature, body, url }), { name: "SignatureError" });
  // With two different keys the SDK tells only what the second attempt failed of.
  const one = new Receiver({ currentSigningKey: CURRENT, nextSigningKey: CURRENT });
  await assert.rejects(one.verify({ signature, body, url }), signatureError(/"exp" claim timestamp check failed/));
  assert.ok(await receiver.verify({ signature, body, url, clockTolerance: 60 }));
});

test("the keys are those of the region that the delivery names", async (t) => {
  const { signature, body, url, region } = await delivery(t);
  assert.equal(region, "EU-CENTRAL-1");
  const names = ["QSTASH_REGION", "EU_CENTRAL_1_QSTASH_CURRENT_SIGNING_KEY", "EU_CENTRAL_1_QSTASH_NEXT_SIGNING_KEY"];
  const before = process.env.QSTASH_CURRENT_SIGNING_KEY;
  t.after(() => {
    for (const name of names) delete process.env[name];
    process.env.QSTASH_CURRENT_SIGNING_KEY = before;
  });
  names.forEach((name, n) => (process.env[name] = ["US_EAST_1", CURRENT, NEXT][n]));
  process.env.QSTASH_CURRENT_SIGNING_KEY = "sig_of_another_region";
  assert.ok(await new Receiver().verify({ signature, body, url, upstashRegion: region }));
  await assert.rejects(new Receiver().verify({ signature, body, url }), { name: "SignatureError" });
});

test("the client talks to the region of the environment", async (t) => {
  const variables = {
    QSTASH_REGION: "EU_CENTRAL_1",
    EU_CENTRAL_1_QSTASH_URL: URLS.real,
    EU_CENTRAL_1_QSTASH_TOKEN: TOKEN,
    QSTASH_URL: "http://127.0.0.1:9",
  };
  const before = process.env.QSTASH_URL;
  t.after(() => {
    for (const name of Object.keys(variables)) delete process.env[name];
    process.env.QSTASH_URL = before;
  });
  Object.assign(process.env, variables);
  assert.deepEqual(await new Client({ retry: false }).queue().list(), []);
});

// The last test here: it changes the server's keys. The SDK has no call for that.
test("after a rotation a receiver with the old keys still accepts, by its next key", async (t) => {
  const before = await delivery(t);
  assert.deepEqual(await ask("GET", "/v2/keys"), { current: CURRENT, next: NEXT });
  const rotated = await ask("POST", "/v2/keys/rotate");
  assert.equal(rotated.current, NEXT);
  assert.ok(![CURRENT, NEXT].includes(rotated.next));
  const after = await delivery(t);
  assert.ok(await receiver.verify(after));
  const renewed = new Receiver({ currentSigningKey: rotated.current, nextSigningKey: rotated.next });
  assert.ok(await renewed.verify(after));
  await assert.rejects(renewed.verify(before), signatureError(/signature verification failed/));
});
