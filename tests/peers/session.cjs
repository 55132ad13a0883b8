// An independent client's view of the server: discovery, a session by password and one by certificate, a read, a close.
// usage: see peer.cjs
"use strict";
const fs = require("fs");
const { OPCUAClient, UserTokenType, AttributeIds } = require("node-opcua");
const { run } = require("./peer.cjs");

async function connected(url, options, user) {
  const client = OPCUAClient.create(options);
  await client.connect(url);
  const session = await client.createSession(user);
  return { client, session };
}

run(async ({ url, options: common, userName, password }) => {
  const options = { ...common, requestedSessionTimeout: 60000, defaultSecureTokenLifetime: 60000 };
  const result = {};
  const { clientCertificateManager, connectionStrategy } = options;
  const discovery = OPCUAClient.create({ endpointMustExist: false, connectionStrategy, clientCertificateManager });
  await discovery.connect(url);
  result.endpoints = (await discovery.getEndpoints()).map((e) => e.endpointUrl);
  result.servers = (await discovery.findServers()).map((s) => s.applicationUri);
  await discovery.disconnect();

  const byName = await connected(url, options, { type: UserTokenType.UserName, userName, password });
  const value = await byName.session.read({ nodeId: "ns=0;i=2255", attributeId: AttributeIds.Value });
  result.namespaces = value.value.value;
  const many = Array.from({ length: 1000 }, () => ({ nodeId: "ns=0;i=2255", attributeId: AttributeIds.Value }));
  result.many = (await byName.session.read(many)).length;
  await byName.session.close();
  await byName.client.disconnect();

  const certificateData = fs.readFileSync(options.certificateFile);
  const der = Buffer.from(certificateData.toString().split("-----")[2].replace(/\s/g, ""), "base64");
  const privateKey = fs.readFileSync(options.privateKeyFile, "utf8");
  const byCertificate = await connected(url, options, { type: UserTokenType.Certificate, certificateData: der, privateKey });
  result.byCertificate = byCertificate.session.sessionId.toString();
  await byCertificate.session.close();
  await byCertificate.client.disconnect();

  try {
    await connected(url, options, { type: UserTokenType.UserName, userName, password: "wrong" });
    result.wrong = "accepted";
  } catch (error) {
    result.wrong = error.message;
  }
  return result;
});
