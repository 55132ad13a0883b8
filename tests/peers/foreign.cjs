// A foreign controller made of node-opcua: logs in with its certificate, proposes, is refused, renews, and ends.
// usage: node foreign.cjs '{"endpoint","certificate","key","authority","applicationUri","pki"}'
// Prints one JSON object: what each step was answered, and what the site did.
"use strict";
const fs = require("fs");
const {
    OPCUAClient, OPCUACertificateManager, MessageSecurityMode, SecurityPolicy, UserTokenType, AttributeIds, DataType,
    VariantArrayType,
} = require("node-opcua");

const options = JSON.parse(process.argv[2]);
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

function strings(value) { return { dataType: DataType.String, arrayType: VariantArrayType.Array, value }; }
function doubles(value) { return { dataType: DataType.Double, arrayType: VariantArrayType.Array, value }; }

// rows: [kind, node, low, high, reason]; leaseS in seconds
async function propose(session, rows, leaseS, priorities = []) {
    const column = (i) => rows.map((row) => row[i]);
    const answer = await session.call({
        objectId: "ns=4;s=mpc0", methodId: "ns=4;s=mpc0/ProposeConstraints",
        inputArguments: [
            strings(column(0)), strings(column(1)), doubles(column(2)), doubles(column(3)),
            { dataType: DataType.Int32, arrayType: VariantArrayType.Array, value: Int32Array.from(priorities) },
            strings(column(4)), { dataType: DataType.Double, value: leaseS },
        ],
    });
    const refusals = answer.outputArguments.length ? answer.outputArguments[0].value : [];
    return { status: answer.statusCode.name, refusals };
}

async function value(session, node) {
    return (await session.read({ nodeId: `ns=4;s=${node}`, attributeId: AttributeIds.Value })).value.value;
}

async function until(session, node, wanted) {
    for (let i = 0; i < 100; i++) {
        const found = await value(session, node);
        if (wanted(found)) return found;
        await sleep(100);
    }
    return value(session, node);
}

async function connected() {
    const manager = new OPCUACertificateManager({ rootFolder: options.pki, automaticallyAcceptUnknownCertificate: true });
    await manager.initialize();
    await manager.addIssuer(fs.readFileSync(options.authority), false, true);
    const client = OPCUAClient.create({
        applicationUri: options.applicationUri, clientName: "mpc", clientCertificateManager: manager,
        certificateFile: options.certificate, privateKeyFile: options.key, securityMode: MessageSecurityMode.SignAndEncrypt,
        securityPolicy: SecurityPolicy.Basic256Sha256, endpointMustExist: false, connectionStrategy: { maxRetry: 0 },
    });
    await client.connect(options.endpoint);
    const der = Buffer.from(fs.readFileSync(options.certificate).toString().split("-----")[2].replace(/\s/g, ""), "base64");
    const privateKey = fs.readFileSync(options.key, "utf8");
    const session = await client.createSession({ type: UserTokenType.Certificate, certificateData: der, privateKey });
    return { client, session };
}

async function main() {
    const result = {};
    const { client, session } = await connected();
    result.refused = {
        unknown: await propose(session, [["bound", "ess9", 0, 1, ""]], 5),
        nan: await propose(session, [["target", "ess0", NaN, NaN, ""]], 5),
        priority: await propose(session, [["target", "ess0", 1, 1, ""]], 5, [1]),
        many: await propose(session, Array(65).fill(["target", "ess0", 1, 1, ""]), 5),
    };
    result.taken = await propose(session, [["bound", "ess0/ActivePower", 321, 321, "a plan of node-opcua"]], 60);
    result.setpoint = await until(session, "ess0/SetActivePower", (v) => v === 321);
    result.explanation = await until(session, "mpc0/Explanation", (v) => v.includes("plan"));
    result.state = await value(session, "mpc0/RunState");
    result.left = await value(session, "mpc0/left_s");
    result.renewed = await propose(session, [["bound", "ess0", -Infinity, 123, "a short one"], ["bound", "ess0", 123, Infinity, ""]], 3);
    result.short = await until(session, "ess0/SetActivePower", (v) => v === 123);
    result.after = await until(session, "mpc0/Explanation", (v) => v === "asks for nothing");
    await propose(session, [["bound", "ess0", 222, 222, "until I leave"]], 3600);
    result.last = await until(session, "ess0/SetActivePower", (v) => v === 222);
    await session.close();
    await client.disconnect();
    console.log(JSON.stringify(result));
    process.exit(0);
}

main().catch((error) => { console.log(JSON.stringify({ error: error.message })); process.exit(1); });
