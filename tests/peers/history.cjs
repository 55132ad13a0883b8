// What an independent client makes of the history: pages, aggregates, corrections, errors. usage: see peer.cjs
"use strict";
const opcua = require("node-opcua");
const { PerformUpdateType, UpdateDataDetails, DeleteRawModifiedDetails } = require("node-opcua-types");
const { runSteps } = require("./peer.cjs");

const NODE = "ns=4;s=ess0/Soc";
const START = new Date(Date.UTC(2026, 2, 1, 12));
const MINUTE = 60_000;
const after = (minutes) => new Date(START.getTime() + minutes * MINUTE);

async function ask(session, historyReadDetails, options = {}) {
  const { nodeId = NODE, point, release = false, timestamps = opcua.TimestampsToReturn.Source } = options;
  const request = new opcua.HistoryReadRequest({
    historyReadDetails, timestampsToReturn: timestamps, releaseContinuationPoints: release,
    nodesToRead: [{ nodeId, continuationPoint: point }],
  });
  return (await session.performMessageTransaction(request)).results[0];
}

const raw = (numValuesPerNode) => new opcua.ReadRawModifiedDetails({
  isReadModified: false, startTime: START, endTime: after(60), numValuesPerNode, returnBounds: false,
});

const processed = (...aggregateType) => new opcua.ReadProcessedDetails({
  startTime: START, endTime: after(60), processingInterval: 15 * MINUTE, aggregateType,
  aggregateConfiguration: { useServerCapabilitiesDefaults: true },
});

async function update(session, details) {
  const request = new opcua.HistoryUpdateRequest({ historyUpdateDetails: [details] });
  return (await session.performMessageTransaction(request)).results[0];
}

async function fault(promise) {
  try {
    return (await promise).statusCode.name;
  } catch (error) {
    return error.response ? error.response.responseHeader.serviceResult.name : error.message;
  }
}

const insert = (minute) => new UpdateDataDetails({
  nodeId: NODE, performInsertReplace: PerformUpdateType.Insert,
  updateValues: [{ value: { dataType: "Double", value: 50 }, sourceTimestamp: after(minute) }],
});

runSteps({
  averages: async (session) => {
    const result = await ask(session, processed(opcua.resolveNodeId("i=2342")));
    return result.historyData.dataValues.map((v) => [v.value.value, v.statusCode.name.split("#")[0]]);
  },
  pages: async (session) => {
    const sizes = [];
    let point;
    do {
      const page = await ask(session, raw(25), { point });
      sizes.push(page.historyData.dataValues.length);
      point = page.continuationPoint;
    } while (point && point.length);
    return sizes;
  },
  released: async (session) => {
    const { continuationPoint: point } = await ask(session, raw(25));
    await ask(session, raw(25), { point, release: true });
    return (await ask(session, raw(25), { point })).statusCode.name;
  },
  inserted: async (session) => {
    const first = await update(session, insert(1.5));
    const second = await update(session, insert(1.5));
    return [first, second].map((result) => result.operationResults[0].name);
  },
  deleted: async (session) => {
    const details = new DeleteRawModifiedDetails({
      nodeId: NODE, isDeleteModified: false, startTime: after(0), endTime: after(51),
    });
    const result = await update(session, details);
    return [result.statusCode.name, (await ask(session, raw(0))).historyData.dataValues.length];
  },
  mismatch: (session) => fault(ask(session, processed())),
  timestamps: (session) => fault(ask(session, raw(0), { timestamps: opcua.TimestampsToReturn.Neither })),
});
