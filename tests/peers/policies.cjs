// Every security policy and mode: a session by password and one by certificate, a read, a subscription's first value.
// usage: see peer.cjs
"use strict";
const fs = require("fs");
const { OPCUAClient, UserTokenType, AttributeIds, MessageSecurityMode, SecurityPolicy, ClientSubscription, ClientMonitoredItem,
  TimestampsToReturn } = require("node-opcua");
const { run } = require("./peer.cjs");

const POLICIES = ["Basic256Sha256", "Aes128_Sha256_RsaOaep", "Aes256_Sha256_RsaPss"];
const MODES = ["Sign", "SignAndEncrypt"];

async function firstValue(session, nodeId) {
  const subscription = ClientSubscription.create(session, { requestedPublishingInterval: 50, requestedMaxKeepAliveCount: 20,
    requestedLifetimeCount: 100, publishingEnabled: true });
  const item = ClientMonitoredItem.create(subscription, { nodeId, attributeId: AttributeIds.Value },
    { samplingInterval: 20, queueSize: 1 }, TimestampsToReturn.Both);
  const value = await new Promise((resolve) => item.once("changed", resolve));
  await subscription.terminate();
  return value.value.value;
}

async function talk(url, options, user) {
  const client = OPCUAClient.create(options);
  await client.connect(url);
  const session = await client.createSession(user);
  const state = await session.read({ nodeId: "ns=0;i=2259", attributeId: AttributeIds.Value });
  const value = await firstValue(session, "ns=4;s=ess0/Soc");
  await session.close();
  await client.disconnect();
  return { state: state.value.value, value };
}

run(async ({ url, options, userName, password }) => {
  const certificate = fs.readFileSync(options.certificateFile, "utf8");
  const certificateData = Buffer.from(certificate.split("-----")[2].replace(/\s/g, ""), "base64");
  const privateKey = fs.readFileSync(options.privateKeyFile, "utf8");
  const result = {};
  for (const policy of POLICIES) {
    for (const mode of MODES) {
      const secured = { ...options, securityPolicy: SecurityPolicy[policy], securityMode: MessageSecurityMode[mode] };
      const byName = await talk(url, secured, { type: UserTokenType.UserName, userName, password });
      const byCertificate = await talk(url, secured, { type: UserTokenType.Certificate, certificateData, privateKey });
      result[`${policy} ${mode}`] = [byName.state, byName.value, byCertificate.state, byCertificate.value];
    }
  }
  return result;
});
