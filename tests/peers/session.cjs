// An independent client's view of the server: discovery, a session by password and one by certificate, a read, a close.
// usage: node session.cjs <url> <client certificate PEM> <client key PEM> <application uri> <user> <password>
"use strict";
const fs = require("fs");
const path = require("path");
const os = require("os");
const { OPCUAClient, OPCUACertificateManager, MessageSecurityMode, SecurityPolicy, UserTokenType, AttributeIds } =
  require("node-opcua");

async function connected(url, options, user) {
  const client = OPCUAClient.create(options);
  await client.connect(url);
  const session = await client.createSession(user);
  return { client, session };
}

async function main() {
  const [url, certificateFile, privateKeyFile, applicationUri, userName, password] = process.argv.slice(2);
  const rootFolder = fs.mkdtempSync(path.join(os.tmpdir(), "peer-"));
  const clientCertificateManager = new OPCUACertificateManager({ rootFolder, automaticallyAcceptUnknownCertificate: true });
  await clientCertificateManager.initialize();
  const authority = fs.readFileSync(path.join(path.dirname(certificateFile), "..", "ca", "ca.der"));
  await clientCertificateManager.addIssuer(authority, false, true);
  const options = {
    applicationUri,
    certificateFile,
    privateKeyFile,
    clientCertificateManager,
    securityMode: MessageSecurityMode.SignAndEncrypt,
    securityPolicy: SecurityPolicy.Basic256Sha256,
    endpointMustExist: true,
    connectionStrategy: { maxRetry: 0 },
    requestedSessionTimeout: 60000,
    defaultSecureTokenLifetime: 60000,
  };
  const result = {};
  try {
    const discovery = OPCUAClient.create({ endpointMustExist: false, connectionStrategy: { maxRetry: 0 }, clientCertificateManager });
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

    const certificateData = fs.readFileSync(certificateFile);
    const der = Buffer.from(certificateData.toString().split("-----")[2].replace(/\s/g, ""), "base64");
    const privateKey = fs.readFileSync(privateKeyFile, "utf8");
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
  } finally {
    await clientCertificateManager.dispose();
    fs.rmSync(rootFolder, { recursive: true, force: true });
  }
  console.log(JSON.stringify(result));
  process.exit(0);
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
