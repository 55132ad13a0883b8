// node-opcua's server with many Doubles that all change at once, for comparison on the same machine with the same client.
// usage: node server.cjs '{"certificate","key","authority","uri","nodes","interval_ms"}'
// Prints one JSON object when it listens: {"port", "update_us"}, the latter the CPU of changing one value that nobody watches.
"use strict";
const fs = require("fs");
const os = require("os");
const path = require("path");
const { OPCUAServer, OPCUACertificateManager, MessageSecurityMode, SecurityPolicy, DataType, StatusCodes } = require("node-opcua");

const MEASURED_ROUNDS = 40;
const options = JSON.parse(process.argv[2]);

async function listen() {
  const rootFolder = fs.mkdtempSync(path.join(os.tmpdir(), "peer-server-"));
  process.on("exit", () => fs.rmSync(rootFolder, { recursive: true, force: true }));
  const serverCertificateManager = new OPCUACertificateManager({ rootFolder, automaticallyAcceptUnknownCertificate: true });
  await serverCertificateManager.initialize();
  await serverCertificateManager.addIssuer(fs.readFileSync(options.authority), false, true);
  const many = options.nodes + 1000;
  const server = new OPCUAServer({
    port: 0, host: "127.0.0.1", certificateFile: options.certificate, privateKeyFile: options.key, serverCertificateManager,
    serverInfo: { applicationUri: options.uri }, allowAnonymous: true,
    securityPolicies: [SecurityPolicy.None, SecurityPolicy.Basic256Sha256],
    securityModes: [MessageSecurityMode.None, MessageSecurityMode.SignAndEncrypt],
    maxConnectionsPerEndpoint: 100,
    serverCapabilities: {
      maxMonitoredItems: many, maxMonitoredItemsPerSubscription: many, maxSessions: 100, maxSubscriptionsPerSession: 100,
      operationLimits: { maxMonitoredItemsPerCall: many, maxNodesPerRead: many, maxNodesPerWrite: many, maxNodesPerBrowse: many },
    },
  });
  await server.initialize();
  return server;
}

function addVariables(server) {
  const namespace = server.engine.addressSpace.getOwnNamespace();
  const folder = namespace.addFolder("ObjectsFolder", { browseName: "Bench" });
  return Array.from({ length: options.nodes }, (_, i) => namespace.addVariable({
    componentOf: folder, browseName: `v${i}`, nodeId: `s=v${i}`, dataType: "Double", minimumSamplingInterval: options.interval_ms,
    accessLevel: "CurrentRead | CurrentWrite", value: { dataType: DataType.Double, value: 0 },
  }));
}

function updater(variables) {
  let round = 0;
  return () => {
    round += 1;
    for (const variable of variables) variable.setValueFromSource({ dataType: DataType.Double, value: round }, StatusCodes.Good);
  };
}

async function main() {
  const server = await listen();
  const update = updater(addVariables(server));
  const before = process.cpuUsage();
  for (let i = 0; i < MEASURED_ROUNDS; i++) update();
  const used = process.cpuUsage(before);
  await server.start();
  setInterval(update, options.interval_ms);
  const port = server.endpoints[0].port;
  const updateUs = (used.user + used.system) / MEASURED_ROUNDS / options.nodes;
  console.log(JSON.stringify({ port, update_us: updateUs, namespace: server.engine.addressSpace.getOwnNamespace().index }));
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
