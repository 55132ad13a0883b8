// Certificate push as a certificate manager does it: reads the trust list, writes it, asks for a signing request, pushes a certificate.
// usage: see peer.cjs; the last argument is a folder where `issued.der` appears after `request.der` was written
"use strict";
const fs = require("fs");
const path = require("path");
const { OPCUAClient, UserTokenType, Variant, DataType, VariantArrayType, StatusCodes, resolveNodeId, BinaryStream } = require("node-opcua");
const { TrustListDataType } = require("node-opcua-types");
const { run } = require("./peer.cjs");

const CONFIGURATION = "ns=0;i=12637", LIST = "ns=0;i=12642";
const argument = (dataType, value, arrayType = VariantArrayType.Scalar) => new Variant({ dataType, value, arrayType });

async function call(session, objectId, method, ...inputArguments) {
  const result = await session.call({ objectId, methodId: `ns=0;i=${method}`, inputArguments });
  if (result.statusCode.isNot(StatusCodes.Good)) throw new Error(`${method}: ${result.statusCode.name}`);
  return (result.outputArguments || []).map((output) => output.value);
}

async function readList(session) {
  const [handle] = await call(session, LIST, 12647, argument(DataType.Byte, 1));
  const parts = [];
  for (;;) {
    const [part] = await call(session, LIST, 12652, argument(DataType.UInt32, handle), argument(DataType.Int32, 700));
    if (!part || !part.length) break;
    parts.push(part);
  }
  await call(session, LIST, 12650, argument(DataType.UInt32, handle));
  const list = new TrustListDataType();
  list.decode(new BinaryStream(Buffer.concat(parts)));
  return list;
}

async function writeList(session, list) {
  const stream = new BinaryStream(1 << 20);
  list.encode(stream);
  const content = stream.buffer.subarray(0, stream.length);
  const [handle] = await call(session, LIST, 12647, argument(DataType.Byte, 6));
  for (let at = 0; at < content.length; at += 900) {
    await call(session, LIST, 12655, argument(DataType.UInt32, handle), argument(DataType.ByteString, content.subarray(at, at + 900)));
  }
  return call(session, LIST, 12666, argument(DataType.UInt32, handle));
}

async function appears(file) {
  while (!fs.existsSync(file)) await new Promise((resolve) => setTimeout(resolve, 50));
  return fs.readFileSync(file);
}

run(async ({ url, options, userName, password }) => {
  const folder = process.argv[8];
  const client = OPCUAClient.create(options);
  await client.connect(url);
  const session = await client.createSession({ type: UserTokenType.UserName, userName, password });
  const result = {};
  const [rejected] = await call(session, CONFIGURATION, 12777);
  result.rejected = rejected.length;
  const list = await readList(session);
  result.before = list.trustedCertificates.length;
  list.trustedCertificates = [...list.trustedCertificates, rejected[0]];
  result.applyNeeded = await writeList(session, list);
  result.after = (await readList(session)).trustedCertificates.length;

  const nothing = argument(DataType.NodeId, resolveNodeId("i=0"));
  const [request] = await call(session, CONFIGURATION, 12737, nothing, nothing, argument(DataType.String, ""),
    argument(DataType.Boolean, true), argument(DataType.ByteString, Buffer.alloc(32, 7)));
  fs.writeFileSync(path.join(folder, "request.tmp"), request);
  fs.renameSync(path.join(folder, "request.tmp"), path.join(folder, "request.der"));
  const issued = await appears(path.join(folder, "issued.der"));
  const issuer = fs.readFileSync(path.join(folder, "issuer.der"));
  const [needed] = await call(session, CONFIGURATION, 13737, nothing, nothing, argument(DataType.ByteString, issued),
    argument(DataType.ByteString, [issuer], VariantArrayType.Array), argument(DataType.String, ""), argument(DataType.ByteString, null));
  result.applyAfterUpdate = needed;
  await call(session, CONFIGURATION, 12740);
  const [, certificates] = await call(session, CONFIGURATION, 32333, nothing);
  result.certificate = certificates[0].equals(issued);
  await session.close();
  await client.disconnect();
  return result;
});
