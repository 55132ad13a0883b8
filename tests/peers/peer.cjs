// What every peer has in common: certificates of its own that trust the site, the options of its client, one JSON object as answer.
// A peer is run as: node <peer>.cjs <url> <client certificate PEM> <client key PEM> <application uri> <user> <password>
"use strict";
const fs = require("fs");
const path = require("path");
const os = require("os");
const { OPCUAClient, OPCUACertificateManager, MessageSecurityMode, SecurityPolicy, UserTokenType } = require("node-opcua");

// Give `work` what it needs and print what it returns.
async function answer(work) {
  const [url, certificateFile, privateKeyFile, applicationUri, userName, password] = process.argv.slice(2);
  const rootFolder = fs.mkdtempSync(path.join(os.tmpdir(), "peer-"));
  const clientCertificateManager = new OPCUACertificateManager({ rootFolder, automaticallyAcceptUnknownCertificate: true });
  await clientCertificateManager.initialize();
  const authority = fs.readFileSync(path.join(path.dirname(certificateFile), "..", "ca", "ca.der"));
  await clientCertificateManager.addIssuer(authority, false, true);
  const options = {
    applicationUri, certificateFile, privateKeyFile, clientCertificateManager,
    securityMode: MessageSecurityMode.SignAndEncrypt, securityPolicy: SecurityPolicy.Basic256Sha256,
    endpointMustExist: true, connectionStrategy: { maxRetry: 0 },
  };
  try {
    console.log(JSON.stringify(await work({ url, options, userName, password })));
  } finally {
    await clientCertificateManager.dispose();
    fs.rmSync(rootFolder, { recursive: true, force: true });
  }
}

function run(work) {
  answer(work).then(() => process.exit(0)).catch((error) => {
    console.error(error);
    process.exit(1);
  });
}

// Run every step in one session by password; `attempt` says what becomes of one step. The results by name.
function runSteps(steps, attempt = (step, session) => step(session)) {
  run(async ({ url, options, userName, password }) => {
    const client = OPCUAClient.create(options);
    await client.connect(url);
    const session = await client.createSession({ type: UserTokenType.UserName, userName, password });
    const result = {};
    for (const [name, step] of Object.entries(steps)) result[name] = await attempt(step, session);
    await session.close();
    await client.disconnect();
    return result;
  });
}

module.exports = { run, runSteps };
