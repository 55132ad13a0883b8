// An operator's OPC UA client made of node-opcua: connects, browses, reads, subscribes, takes the manual override.
// usage: node site_client.cjs '{"endpoint","certificate","key","authority","pki","user","password","mode","steps":[...]}'
// Prints one JSON object: {"connect": "Good" | error text, "<step>": result, ...}
const {
    OPCUAClient, OPCUACertificateManager, MessageSecurityMode, SecurityPolicy, UserTokenType, AttributeIds,
    TimestampsToReturn, DataType, StatusCodes, ClientMonitoredItem,
} = require("node-opcua");

const fs = require("fs");

const options = JSON.parse(process.argv[2]);
const result = {};

const steps = {
    async browse(session) {
        const found = await session.browse({ nodeId: "ns=4;s=site", referenceTypeId: "HierarchicalReferences", includeSubtypes: true, resultMask: 63 });
        return found.references.map((r) => r.browseName.name).sort();
    },
    async read(session) {
        const value = await session.read({ nodeId: "ns=4;s=ess0/Soc", attributeId: AttributeIds.Value });
        return { value: value.value.value, status: value.statusCode.name, type: DataType[value.value.dataType] };
    },
    async unit(session) {
        const path = { startingNode: "ns=4;s=ess0/ActivePower", relativePath: { elements: [{ referenceTypeId: "i=46", isInverse: false, includeSubtypes: true, targetName: { namespaceIndex: 0, name: "EngineeringUnits" } }] } };
        const found = await session.translateBrowsePath(path);
        const value = await session.read({ nodeId: found.targets[0].targetId, attributeId: AttributeIds.Value });
        return { symbol: value.value.value.displayName.text, unitId: value.value.value.unitId };
    },
    async subscribe(session) {
        const subscription = await session.createSubscription2({
            requestedPublishingInterval: 100, requestedLifetimeCount: 600, requestedMaxKeepAliveCount: 20,
            maxNotificationsPerPublish: 1000, publishingEnabled: true, priority: 1,
        });
        const item = ClientMonitoredItem.create(subscription, { nodeId: "ns=4;s=cycle/Counter", attributeId: AttributeIds.Value },
            { samplingInterval: 50, queueSize: 10, discardOldest: true }, TimestampsToReturn.Both);
        const values = [];
        item.on("changed", (v) => values.push(Number(v.value.value[1] ?? v.value.value)));
        for (let i = 0; i < 150 && values.length < 20; i++) await new Promise((done) => setTimeout(done, 100));
        await subscription.terminate();
        return { count: values.length, rising: values.every((v, i) => i === 0 || v > values[i - 1]) };
    },
    async override(session) {
        return (await call(session, "AcquireManualOverride", [{ dataType: DataType.Double, value: 60 }]));
    },
    async setpoint(session) {
        const status = await session.write({ nodeId: "ns=4;s=ess0/SetActivePower", attributeId: AttributeIds.Value,
            value: { value: { dataType: DataType.Double, value: 1234 } } });
        return status.name;
    },
    async reaction(session) {
        for (let i = 0; i < 40; i++) {
            const value = await session.read({ nodeId: "ns=4;s=ess0/SetActivePower", attributeId: AttributeIds.Value });
            if (value.value.value === 1234) return value.value.value;
            await new Promise((done) => setTimeout(done, 100));
        }
        return (await session.read({ nodeId: "ns=4;s=site/Explanation", attributeId: AttributeIds.Value })).value.value;
    },
    async release(session) {
        return (await call(session, "ReleaseManualOverride", []));
    },
};

async function call(session, method, inputArguments) {
    const answer = await session.call({ objectId: "ns=4;s=site", methodId: `ns=4;s=site/${method}`, inputArguments });
    return answer.statusCode.name;
}

async function main() {
    const manager = new OPCUACertificateManager({ rootFolder: options.pki, automaticallyAcceptUnknownCertificate: true });
    await manager.initialize();
    await manager.addIssuer(fs.readFileSync(options.authority), false, true);
    const secure = options.mode !== "None";
    const client = OPCUAClient.create({
        applicationUri: options.applicationUri, clientName: "peer", clientCertificateManager: manager,
        certificateFile: options.certificate, privateKeyFile: options.key,
        securityMode: secure ? MessageSecurityMode.SignAndEncrypt : MessageSecurityMode.None,
        securityPolicy: secure ? SecurityPolicy.Basic256Sha256 : SecurityPolicy.None,
        endpointMustExist: false, connectionStrategy: { maxRetry: 0, initialDelay: 100 },
    });
    let session;
    try {
        await client.connect(options.endpoint);
        const identity = options.user
            ? { type: UserTokenType.UserName, userName: options.user, password: options.password }
            : { type: UserTokenType.Anonymous };
        session = await client.createSession(identity);
        result.connect = StatusCodes.Good.name;
        for (const step of options.steps) result[step] = await steps[step](session);
    } catch (error) {
        result[session ? "error" : "connect"] = error.message;
    }
    if (session) await session.close().catch(() => {});
    await client.disconnect().catch(() => {});
    console.log(JSON.stringify(result));
    process.exit(0);
}

main();
