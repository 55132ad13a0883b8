// A client that waits for the server to dial it (reverse connect): a session by password and a read, twice on a connection each.
// usage: see peer.cjs; the URL is the one to listen on.
"use strict";
const fs = require("fs");
const path = require("path");
const { ClientReverseConnect, OPCUAClient, UserTokenType, AttributeIds } = require("node-opcua");
const { run } = require("./peer.cjs");

run(async ({ url, options, userName, password }) => {
  const serverCertificate = fs.readFileSync(path.join(path.dirname(options.certificateFile), "server.der"));
  const listener = new ClientReverseConnect(url);
  await listener.start();
  const result = { endpoints: [], namespaces: [] };
  for (let i = 0; i < 2; i++) {
    const client = OPCUAClient.create({ ...options, serverCertificate, endpointMustExist: false });
    await client.connectReverse(listener);
    const session = await client.createSession({ type: UserTokenType.UserName, userName, password });
    result.endpoints.push(client.endpointUrl);
    result.namespaces.push((await session.read({ nodeId: "ns=0;i=2255", attributeId: AttributeIds.Value })).value.value);
    await session.close();
    await client.disconnect();
  }
  await listener.stop();
  return result;
});
