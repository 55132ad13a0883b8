// What an independent client sees of the address space: it walks everything, reads every attribute, and tries the wrong things.
// usage: see peer.cjs
// Prints one JSON object: {"<check>": result, ...}
"use strict";
const {
  AttributeIds, BrowseDirection, TimestampsToReturn, DataType, VariantArrayType, ReadRequest, BrowseRequest, makeBrowsePath,
  coerceNodeId, WriteRequest,
} = require("node-opcua");
const { runSteps } = require("./peer.cjs");

const BROWSE_MOST = 500;
const value = (dataType, v) => ({ value: { dataType, value: v } });
const hierarchical = (nodeId) => ({
  nodeId, referenceTypeId: "HierarchicalReferences", includeSubtypes: true, browseDirection: BrowseDirection.Forward, resultMask: 63,
});

async function walk(session, root) {
  const seen = new Map([[root, null]]);
  let level = [root];
  while (level.length) {
    const found = [];
    for (let i = 0; i < level.length; i += BROWSE_MOST) {
      found.push(...await session.browse(level.slice(i, i + BROWSE_MOST).map(hierarchical)));
    }
    level = [];
    for (const result of found) {
      let references = result.references;
      let point = result.continuationPoint;
      while (point) {
        const more = await session.browseNext(point, false);
        references = references.concat(more.references);
        point = more.continuationPoint;
      }
      for (const reference of references) {
        const id = reference.nodeId.toString();
        if (!seen.has(id)) {
          seen.set(id, reference);
          level.push(id);
        }
      }
    }
  }
  return seen;
}

const checks = {
  async walk(session) {
    const seen = await walk(session, "ns=0;i=85");
    const variables = [...seen.values()].filter((r) => r && r.nodeClass === 2).map((r) => r.nodeId);
    const values = await session.read(variables.map((nodeId) => ({ nodeId, attributeId: AttributeIds.Value })));
    const statuses = {};
    values.forEach((v) => { statuses[v.statusCode.name] = (statuses[v.statusCode.name] || 0) + 1; });
    const empty = values.filter((v, i) => v.statusCode.isGood() && v.value.dataType === DataType.Null).length;
    return { nodes: seen.size, variables: variables.length, statuses: Object.keys(statuses).sort(), empty };
  },
  async types(session) { return (await walk(session, "ns=0;i=86")).size; },
  async attributes(session) {
    const wanted = Object.keys(AttributeIds).filter((k) => Number.isNaN(Number(k)) && !["INVALID", "LAST"].includes(k));
    const found = await session.read(wanted.map((k) => ({ nodeId: "ns=4;s=ess0/Soc", attributeId: AttributeIds[k] })));
    return Object.fromEntries(wanted.map((k, i) => [k, found[i].statusCode.name]));
  },
  async unit(session) {
    const found = await session.translateBrowsePath(makeBrowsePath("RootFolder", "/Objects/3:EMS/3:Devices/4:ess0/3:ActivePower.EngineeringUnits"));
    const read = await session.read({ nodeId: found.targets[0].targetId, attributeId: AttributeIds.Value });
    return [read.value.value.unitId, read.value.value.displayName.text];
  },
  async enumeration(session) {
    const type = (await session.read({ nodeId: "ns=4;s=ess0/GridMode", attributeId: AttributeIds.DataType })).value.value;
    const definition = (await session.read({ nodeId: type, attributeId: AttributeIds.DataTypeDefinition })).value.value;
    return definition.fields.map((f) => f.name);
  },
  async indexRange(session) {
    const read = await session.read({ nodeId: "ns=0;i=2255", attributeId: AttributeIds.Value, indexRange: "0:1" });
    return read.value.value.length;
  },
  async noTimestamps(session) {
    const request = new ReadRequest({
      nodesToRead: [{ nodeId: "ns=0;i=2258", attributeId: AttributeIds.Value }], timestampsToReturn: TimestampsToReturn.Neither,
    });
    const result = (await session.performMessageTransaction(request)).results[0];
    return [result.sourceTimestamp, result.serverTimestamp];
  },
  async readNothing(session) { return refused(session, new ReadRequest({ nodesToRead: [], timestampsToReturn: 0 })); },
  async readTooMuch(session) {
    const node = { nodeId: "ns=0;i=2258", attributeId: AttributeIds.Value };
    return refused(session, new ReadRequest({ nodesToRead: Array(10001).fill(node), timestampsToReturn: 0 }));
  },
  async browseInParts(session) {
    session.requestedMaxReferencesPerNode = 10;
    const first = await session.browse(hierarchical("ns=4;s=site"));
    const second = await session.browseNext(first.continuationPoint, false);
    const released = await session.browseNext(second.continuationPoint, true);
    session.requestedMaxReferencesPerNode = 0;
    return [first.references.length, second.references.length, released.statusCode.name];
  },
  async browseWithoutFields(session) {
    const found = await session.browse({ ...hierarchical("ns=4;s=site"), resultMask: 0 });
    return found.references[0].browseName.name || "";
  },
  async browseUnknown(session) { return (await session.browse(hierarchical("ns=4;s=nowhere"))).statusCode.name; },
  async register(session) { return (await session.registerNodes(["ns=4;s=ess0/Soc"])).map((n) => n.toString()); },
  async writeMeasurement(session) { return write(session, "ess0/Soc", value(DataType.Double, 1)); },
  async writeWrongType(session) { return write(session, "site/OverrideRemaining", value(DataType.Int32, 1)); },
  async writeOutOfRange(session) { return write(session, "site/OverrideRemaining", value(DataType.Double, -5)); },
  async writeWithoutOverride(session) { return write(session, "ess0/SetActivePower", value(DataType.Double, 1)); },
  async writeParameter(session) { return write(session, "peak0/import_max_w", value(DataType.Double, 1)); },
  async writeGood(session) { return write(session, "site/OverrideRemaining", value(DataType.Double, 60)); },
  async arguments(session) {
    const found = await session.getArgumentDefinition(coerceNodeId("ns=4;s=site/AcquireManualOverride"));
    return found.inputArguments.map((a) => [a.name, a.dataType.toString()]);
  },
  async call(session) { return call(session, "site", "site/AcquireManualOverride", [{ dataType: DataType.Double, value: 60 }]); },
  async callMissing(session) { return call(session, "site", "site/AcquireManualOverride", []); },
  async callWrongType(session) { return call(session, "site", "site/AcquireManualOverride", [{ dataType: DataType.String, value: "x" }]); },
  async callForeign(session) { return call(session, "ess0", "site/AcquireManualOverride", [{ dataType: DataType.Double, value: 60 }]); },
  async callForbidden(session) { return call(session, "peak0", "peak0/Disable", []); },
  async monitoredItems(session) {
    const subscription = await session.createSubscription2({
      requestedPublishingInterval: 100, requestedLifetimeCount: 600, requestedMaxKeepAliveCount: 20, maxNotificationsPerPublish: 100,
      publishingEnabled: true, priority: 1,
    });
    const item = await subscription.monitor({ nodeId: "ns=4;s=ess0/Soc", attributeId: AttributeIds.Value },
      { samplingInterval: 100, queueSize: 1, discardOldest: true }, TimestampsToReturn.Both);
    const found = await session.getMonitoredItems(subscription.subscriptionId);
    const result = [found.serverHandles.length, found.clientHandles.length];
    await item.terminate();
    await subscription.terminate();
    return result;
  },
  async dataTypes(session) {
    const manager = await session.extractNamespaceDataType();
    return Boolean(manager);
  },
};

async function refused(session, request) {
  try {
    await session.performMessageTransaction(request);
    return "Good";
  } catch (error) {
    return error.response ? error.response.responseHeader.serviceResult.name : error.message;
  }
}

async function write(session, node, dataValue) {
  return (await session.write({ nodeId: `ns=4;s=${node}`, attributeId: AttributeIds.Value, value: dataValue })).name;
}

async function call(session, object, method, inputArguments) {
  const result = await session.call({ objectId: `ns=4;s=${object}`, methodId: `ns=4;s=${method}`, inputArguments });
  return result.statusCode.name;
}

runSteps(checks, async (check, session) => {
  try {
    return await check(session);
  } catch (error) {
    return `error: ${error.message}`;
  }
});
