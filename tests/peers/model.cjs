// What an independent client sees of the address space: it walks everything, reads every attribute, and tries the wrong things.
// usage: see peer.cjs
// Prints one JSON object: {"<check>": result, ...}
"use strict";
const { AttributeIds, BrowseDirection, DataType, makeBrowsePath, coerceNodeId } = require("node-opcua");
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
  async writeOutOfRange(session) { return write(session, "site/OverrideRemaining", value(DataType.Double, -5)); },
  async writeWithoutOverride(session) { return write(session, "ess0/SetActivePower", value(DataType.Double, 1)); },
  async writeParameter(session) { return write(session, "peak0/import_max_w", value(DataType.Double, 1)); },
  async arguments(session) {
    const found = await session.getArgumentDefinition(coerceNodeId("ns=4;s=site/AcquireManualOverride"));
    return found.inputArguments.map((a) => [a.name, a.dataType.toString()]);
  },
  async callForbidden(session) { return call(session, "peak0", "peak0/Disable", []); },
};

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
