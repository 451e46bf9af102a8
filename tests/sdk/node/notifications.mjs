// What a receiver does with a rich notification, by the means of Node and jsonwebtoken: no JavaScript SDK has its own.

import assert from "node:assert/strict";
import crypto from "node:crypto";

import jwt from "jsonwebtoken";

const { env } = process;
const PUBLISHER = "0bf30f3b-4a52-48df-9a82-234910c4a086";

/** The content of an item; throws when anything about it is wrong. */
export function decrypt(content, privateKey) {
  const oaep = { key: privateKey, padding: crypto.constants.RSA_PKCS1_OAEP_PADDING };
  const key = crypto.privateDecrypt(oaep, Buffer.from(content.dataKey, "base64"));
  const data = Buffer.from(content.data, "base64");
  assert.equal(crypto.createHmac("sha256", key).update(data).digest("base64"), content.dataSignature);
  const decipher = crypto.createDecipheriv("aes-256-cbc", key, key.subarray(0, 16));
  return JSON.parse(decipher.update(data, undefined, "utf8") + decipher.final("utf8"));
}

/** Throws unless the token says that the notification comes from where it should. */
async function validate(token) {
  const keys = await (await fetch(`${env.PRESENCED_URL}/common/discovery/v2.0/keys`)).json();
  const { kid } = jwt.decode(token, { complete: true }).header;
  const key = crypto.createPublicKey({ key: keys.keys.find((one) => one.kid === kid), format: "jwk" });
  const claims = jwt.verify(token, key, {
    algorithms: ["RS256"],
    audience: env.PRESENCED_CLIENT_ID,
    issuer: `${env.PRESENCED_URL}/${env.PRESENCED_TENANT}/v2.0`,
  });
  assert.equal(claims.azp, PUBLISHER);
  assert.equal(claims.tid, env.PRESENCED_TENANT);
}

/** The next notification at the receiver; checked and read where a key is given. */
export async function received({ with: { url, key } }) {
  const collection = await (await fetch(url)).json();
  if (key) {
    assert.ok(collection.validationTokens.length > 0);
    await Promise.all(collection.validationTokens.map(validate));
    for (const item of collection.value) {
      item.content = decrypt(item.encryptedContent, key);
    }
    collection.valid = true;
  }
  return collection;
}
