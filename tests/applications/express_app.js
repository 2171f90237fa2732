// A receiver as its author would write it with Express: it checks the signature over the raw body.
const crypto = require("node:crypto");
const express = require("express");

const secret = process.env.WEBHOOK_SECRET;
const app = express();

app.post("/webhook", express.raw({ type: () => true, limit: "2mb" }), (request, response) => {
  const expected = crypto.createHmac("sha256", secret).update(request.body).digest();
  const given = Buffer.from(request.get("X-SignalArk-Signature") || "", "hex");
  if (given.length !== expected.length || !crypto.timingSafeEqual(given, expected)) {
    return response.status(401).send("wrong signature");
  }
  return response.status(202).set("X-Taken-By", "express").json({ taken: request.body.length });
});

const server = app.listen(0, "127.0.0.1", () => console.log(server.address().port));
