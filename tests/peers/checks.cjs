// 58 checks that an independent client makes of the server, each against what the standard says. Raw requests, so that nothing is
// repaired or hidden by the library. They look at a storage `ess0`, a controller `peak0` and a battery `bat0` of the site; while they
// run ess0/Soc must change at least four times a second and ess0/State turn to Fault and back, and ess0/Soc must have a history.
// usage: see peer.cjs; the user must be an Engineer.
// Prints a table, then one JSON object: [{"number", "name", "ok", "got"}, ...]
"use strict";
const assert = require("assert/strict");
const opcua = require("node-opcua");
const {
  AttributeIds, BrowseDirection, TimestampsToReturn, MonitoringMode, DataType, DataChangeFilter, DataChangeTrigger, DeadbandType,
  EventFilter, OPCUAClient, ClientSubscription, UserTokenType, StatusCodes, NumericRange, makeBrowsePath, resolveNodeId,
} = opcua;
const { PerformUpdateType, UpdateDataDetails } = require("node-opcua-types");
const { run } = require("./peer.cjs");

const SOC = "ns=4;s=ess0/Soc";
const POWER = "ns=4;s=ess0/ActivePower";
const CELLS = "ns=4;s=bat0/CellVoltages";
const PARAMETER = "ns=4;s=peak0/import_max_w";
const NAMESPACES = "i=2255";
const SERVER = "i=2253";
const HOUR = 3600e3;
const wait = (ms) => new Promise((done) => setTimeout(done, ms));

const answer = (t, request) => t.session.performMessageTransaction(request);

async function fault(t, request) {
  try {
    return (await answer(t, request)).responseHeader.serviceResult.name;
  } catch (error) {
    return error.response ? error.response.responseHeader.serviceResult.name : error.message;
  }
}

function same(got, expected) {
  assert.deepStrictEqual(got, expected);
  return JSON.stringify(got);
}

function oneOf(got, ...expected) {
  assert.ok(expected.includes(got), `${got}, expected ${expected.join(" or ")}`);
  return got;
}

// Attribute services.

const value = (nodeId, options = {}) => ({ nodeId, attributeId: AttributeIds.Value, ...options });

async function read(t, nodesToRead, timestampsToReturn = TimestampsToReturn.Both) {
  return (await answer(t, new opcua.ReadRequest({ nodesToRead, timestampsToReturn }))).results;
}

async function write(t, nodeId, dataType, content) {
  const nodesToWrite = [value(nodeId, { value: { value: { dataType, value: content } } })];
  return (await answer(t, new opcua.WriteRequest({ nodesToWrite }))).results[0].name;
}

const ALWAYS = [
  "NodeId", "NodeClass", "BrowseName", "DisplayName", "Value", "DataType", "ValueRank", "AccessLevel", "UserAccessLevel", "Historizing",
];
const NEVER = ["IsAbstract", "Executable", "EventNotifier", "InverseName"];

async function everyAttribute(t) {
  const names = Object.keys(AttributeIds).filter((k) => Number.isNaN(Number(k)) && !["INVALID", "LAST"].includes(k));
  const found = await read(t, names.map((k) => ({ nodeId: SOC, attributeId: AttributeIds[k] })));
  const statuses = Object.fromEntries(names.map((k, i) => [k, found[i].statusCode.name]));
  ALWAYS.forEach((k) => assert.equal(statuses[k], "Good", k));
  NEVER.forEach((k) => assert.equal(statuses[k], "BadAttributeIdInvalid", k));
  return `${Object.values(statuses).filter((s) => s === "Good").length} attributes`;
}

async function indexRange(t) {
  const [text, array] = await read(t, [value(NAMESPACES, { indexRange: new NumericRange("0:0") }), value(CELLS, { indexRange: new NumericRange("1:2") })]);
  return same([text.statusCode.name, text.value.value?.length, array.value.value?.length], ["BadIndexRangeInvalid", undefined, 2]);
}

async function indexRangeOfOne(t) {
  const [one] = await read(t, [value(NAMESPACES, { indexRange: new NumericRange("0") })]);
  return same([one.statusCode.name, one.value.value.length], ["Good", 1]);
}

// View services.

const children = (nodeId, options = {}) => ({
  nodeId, referenceTypeId: "i=33", includeSubtypes: true, browseDirection: BrowseDirection.Forward, nodeClassMask: 0, resultMask: 63, ...options,
});

async function browse(t, description, requestedMaxReferencesPerNode = 0) {
  return (await answer(t, new opcua.BrowseRequest({ nodesToBrowse: [description], requestedMaxReferencesPerNode }))).results[0];
}

async function browseOn(t, continuationPoint, releaseContinuationPoints = false) {
  return (await answer(t, new opcua.BrowseNextRequest({ continuationPoints: [continuationPoint], releaseContinuationPoints }))).results[0];
}

async function browseNext(t) {
  const whole = (await browse(t, children("ns=4;s=site"))).references.length;
  let page = await browse(t, children("ns=4;s=site"), 10);
  let count = page.references.length;
  let last;
  while (page.continuationPoint) {
    last = page.continuationPoint;
    page = await browseOn(t, last);
    count += page.references.length;
  }
  const again = await browseOn(t, last);
  return same([count, again.statusCode.name], [whole, "BadContinuationPointInvalid"]);
}

// Methods.

async function call(t, objectId, methodId, inputArguments = []) {
  const methodsToCall = [{ objectId: resolveNodeId(objectId), methodId: resolveNodeId(methodId), inputArguments }];
  return (await answer(t, new opcua.CallRequest({ methodsToCall }))).results[0];
}

const OVERRIDE = "ns=4;s=site/AcquireManualOverride";
const seconds = (v) => [{ dataType: DataType.Double, value: v }];
const overridden = async (t, object, inputArguments) => (await call(t, object, OVERRIDE, inputArguments)).statusCode.name;

// Subscriptions: the library publishes, everything else is said here.

async function subscribed(t, publishingInterval, work) {
  const subscription = ClientSubscription.create(t.session, {
    requestedPublishingInterval: publishingInterval, requestedLifetimeCount: 1000, requestedMaxKeepAliveCount: 10,
    maxNotificationsPerPublish: 0, publishingEnabled: true, priority: 1,
  });
  const seen = [];
  subscription.on("raw_notification", (message) => {
    for (const data of message.notificationData ?? []) {
      for (const item of data.monitoredItems ?? []) seen.push({ handle: item.clientHandle, value: item.value.value.value });
    }
  });
  await new Promise((resolve) => subscription.on("started", resolve));
  try {
    return await work(subscription.subscriptionId, seen, subscription);
  } finally {
    await subscription.terminate();
  }
}

async function monitored(t, subscriptionId, nodeId, options = {}) {
  const { mode = MonitoringMode.Reporting, attributeId = AttributeIds.Value, ...parameters } = options;
  const requestedParameters = { clientHandle: 1, samplingInterval: 20, filter: null, queueSize: 1, discardOldest: true, ...parameters };
  const response = await answer(t, new opcua.CreateMonitoredItemsRequest({
    subscriptionId, timestampsToReturn: TimestampsToReturn.Both,
    itemsToCreate: [{ itemToMonitor: { nodeId, attributeId }, monitoringMode: mode, requestedParameters }],
  }));
  return response.results[0];
}

async function until(ms, reached) {
  const deadline = Date.now() + ms;
  while (!reached() && Date.now() < deadline) await wait(20);
  assert.ok(reached(), `not within ${ms} ms`);
}

// Events.

const field = (browseName, typeDefinitionId = "i=2041", attributeId = AttributeIds.Value) =>
  ({ typeDefinitionId, browsePath: browseName ? [{ name: browseName }] : [], attributeId });
const EVENT_FIELDS = [field("EventType"), field("SourceNode"), field("Message"), field("Severity")];

// Events go through an item of the library, which insists on knowing them.
async function eventsOf(subscription, nodeId) {
  const filter = new EventFilter({ selectClauses: EVENT_FIELDS });
  const parameters = { samplingInterval: 0, queueSize: 100, discardOldest: true, filter };
  const item = await subscription.monitor({ nodeId, attributeId: AttributeIds.EventNotifier }, parameters, TimestampsToReturn.Both);
  const seen = [];
  item.on("changed", (fields) => seen.push(fields.map((f) => f.value)));
  assert.equal(item.statusCode.name, "Good");
  return seen;
}

const eventOfDevice = (t, nodeId) => subscribed(t, 100, async (subscriptionId, _, subscription) => {
  const seen = await eventsOf(subscription, nodeId);
  const isOfDevice = (event) => String(event[1]).includes("ess0");
  await until(5000, () => seen.some(isOfDevice));
  return seen.find(isOfDevice)[2].text;
});

const REFRESH_START = "ns=0;i=2787";
const REFRESH_END = "ns=0;i=2788";

async function refreshed(t) {
  return subscribed(t, 100, async (subscriptionId, _, subscription) => {
    const seen = await eventsOf(subscription, SERVER);
    const called = await call(t, "i=2782", "i=3875", [{ dataType: DataType.UInt32, value: subscriptionId }]);
    assert.equal(called.statusCode.name, "Good");
    const types = () => seen.map((e) => String(e[0]));
    await until(3000, () => types().includes(REFRESH_END));
    assert.ok(types().indexOf(REFRESH_START) < types().indexOf(REFRESH_END));
    return `${types().indexOf(REFRESH_END) - types().indexOf(REFRESH_START) - 1} conditions between start and end`;
  });
}

// History.

async function history(t, details, nodeId = SOC, continuationPoint = undefined) {
  const response = await answer(t, new opcua.HistoryReadRequest({
    historyReadDetails: details, timestampsToReturn: TimestampsToReturn.Both, releaseContinuationPoints: false,
    nodesToRead: [{ nodeId, continuationPoint }],
  }));
  return response.results[0];
}

const raw = (numValuesPerNode, startTime = new Date(Date.now() - 3 * HOUR)) => new opcua.ReadRawModifiedDetails({
  isReadModified: false, startTime, endTime: new Date(), numValuesPerNode, returnBounds: false,
});

async function paged(t) {
  const start = new Date(Date.now() - 2 * HOUR); // no other check writes here
  const whole = (await history(t, raw(0, start))).historyData.dataValues.length;
  let page = await history(t, raw(5, start));
  const sizes = [page.historyData.dataValues.length];
  assert.ok(page.continuationPoint, "no continuation point");
  while (page.continuationPoint) {
    page = await history(t, raw(5, start), SOC, page.continuationPoint);
    sizes.push(page.historyData.dataValues.length);
  }
  return same([sizes[0], sizes.reduce((a, b) => a + b)], [5, whole]);
}

async function averages(t) {
  const details = new opcua.ReadProcessedDetails({
    startTime: new Date(Date.now() - 3 * HOUR), endTime: new Date(), processingInterval: HOUR,
    aggregateType: [resolveNodeId("i=2342")],
    aggregateConfiguration: { useServerCapabilitiesDefaults: true },
  });
  const result = await history(t, details);
  oneOf(result.statusCode.name, "Good");
  const values = result.historyData.dataValues;
  assert.equal(values.length, 3);
  assert.ok(values.some((v) => v.statusCode.isGoodish() && Number.isFinite(v.value.value)), "no average");
  return values.map((v) => v.value.value).join(" ");
}

async function inserted(t) {
  const time = new Date(Math.floor((Date.now() - 2.5 * HOUR) / 1000) * 1000 + 123);
  const details = new UpdateDataDetails({
    nodeId: SOC, performInsertReplace: PerformUpdateType.Insert,
    updateValues: [{ value: { dataType: DataType.Double, value: 42 }, statusCode: StatusCodes.Good, sourceTimestamp: time }],
  });
  const response = await answer(t, new opcua.HistoryUpdateRequest({ historyUpdateDetails: [details] }));
  const operation = response.results[0].operationResults[0].name;
  const found = (await history(t, raw(0))).historyData.dataValues.filter((v) => v.sourceTimestamp?.getTime() === time.getTime());
  return same([operation, found.map((v) => v.value.value)], ["GoodEntryInserted", [42]]);
}

// The checks, in their order. What a check returns is shown; it fails by throwing.

function capability(nodeId, dataType, accept = () => true) {
  return async (t) => {
    const [found] = await read(t, [value(nodeId)]);
    assert.equal(found.statusCode.name, "Good");
    assert.equal(DataType[found.value.dataType], DataType[dataType]);
    assert.ok(accept(found.value.value), String(found.value.value));
    return String(found.value.value).slice(0, 60);
  };
}

const positive = (v) => v > 0;
const { UInt16, UInt32, Boolean: Bool, Double, Byte, ExtensionObject } = DataType;

const CHECKS = [
  ["connect", async (t) => same(t.session.isReconnecting, false)],
  ["getEndpoints", async (t) => {
    const found = await t.client.getEndpoints();
    assert.ok(found.some((e) => e.securityMode === opcua.MessageSecurityMode.SignAndEncrypt));
    return `${found.length} endpoints`;
  }],
  ["findServers", async (t) => same((await t.client.findServers()).length, 1)],
  ["read Value", async (t) => {
    const [found] = await read(t, [value(SOC)]);
    return same([found.statusCode.name, DataType[found.value.dataType]], ["Good", "Double"]);
  }],
  ["read all attributes of a variable", everyAttribute],
  ["read IndexRange of an array", async (t) => `${await indexRange(t)} ${await indexRangeOfOne(t)}`],
  ["read TimestampsToReturn=Neither honoured", async (t) => {
    const [found] = await read(t, [value(SOC)], TimestampsToReturn.Neither);
    return same([found.sourceTimestamp, found.serverTimestamp], [null, null]);
  }],
  ["read empty list -> BadNothingToDo", async (t) => same(await fault(t, new opcua.ReadRequest({ nodesToRead: [] })), "BadNothingToDo")],
  ["MaxNodesPerRead enforced", async (t) => {
    const most = (await read(t, [value("i=11705")]))[0].value.value;
    const request = (count) => new opcua.ReadRequest({ nodesToRead: Array(count).fill(value("i=2259")), timestampsToReturn: 3 });
    return same([await fault(t, request(most)), await fault(t, request(most + 1))], ["Good", "BadTooManyOperations"]);
  }],
  ["write Value", async (t) => same(await write(t, PARAMETER, Double, 7000), "Good")],
  ["write wrong type -> BadTypeMismatch", async (t) => same(await write(t, PARAMETER, DataType.String, "x"), "BadTypeMismatch")],
  ["write read-only -> BadNotWritable", async (t) => oneOf(await write(t, SOC, Double, 1), "BadNotWritable", "BadUserAccessDenied")],
  ["browse the site", async (t) => {
    const names = (await browse(t, children("ns=4;s=site"))).references.map((r) => r.browseName.name);
    for (const name of ["Devices", "Controllers", "Mode"]) assert.ok(names.includes(name), name);
    return `${names.length} references`;
  }],
  ["browse maxReferences=10 -> continuation point", async (t) => {
    const page = await browse(t, children("ns=4;s=site"), 10);
    const released = await browseOn(t, page.continuationPoint, true);
    return same([page.references.length, page.continuationPoint.length > 0, released.statusCode.name], [10, true, "Good"]);
  }],
  ["browseNext supported", browseNext],
  ["browse resultMask=None honoured", async (t) => {
    const [first] = (await browse(t, children("ns=4;s=site", { resultMask: 0 }))).references;
    return same([first.browseName.name, first.displayName.text, first.nodeClass, first.isForward, first.referenceTypeId.isEmpty()], [null, null, 0, false, true]);
  }],
  ["browse unknown node -> BadNodeIdUnknown", async (t) => same((await browse(t, children("ns=4;s=nowhere"))).statusCode.name, "BadNodeIdUnknown")],
  ["translateBrowsePath", async (t) => {
    const found = await t.session.translateBrowsePath(makeBrowsePath("RootFolder", "/Objects/3:EMS/3:Devices/4:ess0/3:Soc"));
    return same(found.targets.map((n) => n.targetId.toString()), [SOC]);
  }],
  ["registerNodes", async (t) => {
    const registered = await t.session.registerNodes([SOC]);
    const [found] = await read(t, [value(registered[0])]);
    await t.session.unregisterNodes(registered);
    return same(found.statusCode.name, "Good");
  }],
  ["call a method", async (t) => same(await overridden(t, "ns=4;s=site", seconds(60)), "Good")],
  ["call with missing argument -> BadArgumentsMissing", async (t) => same(await overridden(t, "ns=4;s=site", []), "BadArgumentsMissing")],
  ["call with wrong type -> BadInvalidArgument", async (t) => {
    const result = await call(t, "ns=4;s=site", OVERRIDE, [{ dataType: DataType.String, value: "x" }]);
    return same([result.statusCode.name, result.inputArgumentResults.map((s) => s.name)], ["BadInvalidArgument", ["BadTypeMismatch"]]);
  }],
  ["call method on foreign object -> BadMethodInvalid", async (t) => same(await overridden(t, "ns=4;s=ess0", seconds(60)), "BadMethodInvalid")],
  ["Server.GetMonitoredItems method", (t) => subscribed(t, 200, async (subscriptionId) => {
    const item = await monitored(t, subscriptionId, SOC, { clientHandle: 77 });
    const found = await call(t, SERVER, "i=11492", [{ dataType: UInt32, value: subscriptionId }]);
    const [servers, clients] = found.outputArguments.map((a) => [...a.value]);
    return same([servers, clients], [[item.monitoredItemId], [77]]);
  })],
  ["capability ServerProfileArray", capability("i=2269", DataType.String, (v) => v.some((p) => p.includes("StandardUA2022")))],
  ["capability LocaleIdArray", capability("i=2271", DataType.String, (v) => v.includes("en"))],
  ["capability MinSupportedSampleRate", capability("i=2272", Double, positive)],
  ["capability MaxBrowseContinuationPoints", capability("i=2735", UInt16, positive)],
  ["capability MaxHistoryContinuationPoints", capability("i=2737", UInt16, positive)],
  ["capability MaxArrayLength", capability("i=11702", UInt32, positive)],
  ["capability MaxMonitoredItemsPerCall", capability("i=11714", UInt32, positive)],
  ["capability HistoryServerCapabilities.AccessHistoryData", capability("i=11193", Bool, (v) => v === true)],
  ["capability ServerStatus", capability("i=2256", ExtensionObject, (v) => v.state === 0 && v.buildInfo.productName.length > 0)],
  ["capability ServiceLevel", capability("i=2267", Byte, (v) => v >= 200)],
  ["capability Auditing", capability("i=2994", Bool, (v) => v === true)],
  ["capability ServerDiagnostics.EnabledFlag", capability("i=2294", Bool, (v) => v === true)],
  ["capability CurrentSessionCount", capability("i=2277", UInt32, positive)],
  ["subscription data change in 3 s", (t) => subscribed(t, 100, async (subscriptionId, seen) => {
    await monitored(t, subscriptionId, SOC);
    await until(3000, () => seen.length >= 3);
    return same(seen.every((s, i) => i === 0 || s.value > seen[i - 1].value), true);
  })],
  ["queueSize 0 keeps one value per publish", (t) => subscribed(t, 1000, async (subscriptionId, seen) => {
    await monitored(t, subscriptionId, SOC, { queueSize: 0 });
    await wait(4000);
    assert.ok(seen.length >= 3 && seen.length <= 5, `${seen.length} notifications in 4 s`);
    return `${seen.length} notifications in 4 s`;
  })],
  ["percent deadband without EURange -> rejected", (t) => subscribed(t, 100, async (subscriptionId) => {
    const filter = new DataChangeFilter({ trigger: DataChangeTrigger.StatusValue, deadbandType: DeadbandType.Percent, deadbandValue: 5 });
    return same((await monitored(t, subscriptionId, POWER, { filter })).statusCode.name, "BadDeadbandFilterInvalid");
  })],
  ["monitoringMode Sampling does not report", (t) => subscribed(t, 100, async (subscriptionId, seen) => {
    await monitored(t, subscriptionId, SOC, { mode: MonitoringMode.Sampling });
    await wait(800);
    return same(seen.length, 0);
  })],
  ["setTriggering", (t) => subscribed(t, 100, async (subscriptionId, seen) => {
    const trigger = await monitored(t, subscriptionId, SOC, { clientHandle: 1 });
    const linked = await monitored(t, subscriptionId, SOC, { clientHandle: 2, mode: MonitoringMode.Sampling });
    const response = await answer(t, new opcua.SetTriggeringRequest({
      subscriptionId, triggeringItemId: trigger.monitoredItemId, linksToAdd: [linked.monitoredItemId], linksToRemove: [],
    }));
    await until(3000, () => seen.some((s) => s.handle === 2));
    return same(response.addResults.map((s) => s.name), ["Good"]);
  })],
  ["modifySubscription changes interval", (t) => subscribed(t, 5000, async (subscriptionId, seen) => {
    await monitored(t, subscriptionId, SOC);
    const response = await answer(t, new opcua.ModifySubscriptionRequest({
      subscriptionId, requestedPublishingInterval: 100, requestedLifetimeCount: 1000, requestedMaxKeepAliveCount: 10,
      maxNotificationsPerPublish: 0, priority: 1,
    }));
    await until(2000, () => seen.length >= 4);
    return same(response.revisedPublishingInterval, 100);
  })],
  ["modifyMonitoredItem of unknown id -> per-item Bad", (t) => subscribed(t, 100, async (subscriptionId) => {
    const response = await answer(t, new opcua.ModifyMonitoredItemsRequest({
      subscriptionId, timestampsToReturn: TimestampsToReturn.Both,
      itemsToModify: [{ monitoredItemId: 99999, requestedParameters: { clientHandle: 1, samplingInterval: 100, queueSize: 1, discardOldest: true } }],
    }));
    return same(response.results[0].statusCode.name, "BadMonitoredItemIdInvalid");
  })],
  ["republish unknown -> BadMessageNotAvailable", (t) => subscribed(t, 100, async (subscriptionId) =>
    same(await fault(t, new opcua.RepublishRequest({ subscriptionId, retransmitSequenceNumber: 9999 })), "BadMessageNotAvailable"))],
  ["events on the emitting object", (t) => eventOfDevice(t, "ns=4;s=ess0")],
  ["events propagate to the Server object", (t) => eventOfDevice(t, SERVER)],
  ["historyRead raw", async (t) => {
    const result = await history(t, raw(0));
    assert.ok(result.historyData.dataValues.length > 10);
    return same(result.statusCode.name, "Good");
  }],
  ["historyRead raw in pages of 5", paged],
  ["historyRead of what has no history -> Bad", async (t) =>
    oneOf((await history(t, raw(0), PARAMETER)).statusCode.name, "BadHistoryOperationUnsupported", "BadNotReadable", "BadNotSupported")],
  ["historyRead processed Average", averages],
  ["historyUpdate service", inserted],
  ["transferSubscriptions (self)", (t) => subscribed(t, 100, async (subscriptionId) => {
    const response = await answer(t, new opcua.TransferSubscriptionsRequest({ subscriptionIds: [subscriptionId], sendInitialValues: false }));
    return oneOf(response.results[0].statusCode.name, "Good", "BadNothingToDo");
  })],
  ["cancel service", async (t) => {
    const response = await answer(t, new opcua.CancelRequest({ requestHandle: 123456 }));
    return same([response.responseHeader.serviceResult.name, response.cancelCount], ["Good", 0]);
  }],
  ["ConditionRefresh", refreshed],
  ["node management AddNodes refused", async (t) => {
    const nodesToAdd = [{ parentNodeId: "i=85", referenceTypeId: "i=35", browseName: { name: "x" }, nodeClass: 1, typeDefinition: "i=61" }];
    return oneOf(await fault(t, new opcua.AddNodesRequest({ nodesToAdd })), "BadServiceUnsupported", "BadUserAccessDenied");
  }],
  ["extractNamespaceDataType (custom types)", async (t) => {
    await t.session.extractNamespaceDataType();
    const type = (await read(t, [{ nodeId: "ns=4;s=ess0/GridMode", attributeId: AttributeIds.DataType }]))[0].value.value;
    const definition = (await read(t, [{ nodeId: type, attributeId: AttributeIds.DataTypeDefinition }]))[0].value.value;
    return same(definition.fields.map((f) => f.name), ["OnGrid", "OffGrid", "Genset"]);
  }],
  ["close", async (t) => {
    await t.session.close();
    await t.client.disconnect();
    return "closed";
  }],
];

async function attempt(t, number, [name, check]) {
  try {
    return { number, name, ok: true, got: await check(t) };
  } catch (error) {
    return { number, name, ok: false, got: error.message };
  }
}

// Those between connect and close wait for the plant more than for each other, so they run side by side.
run(async ({ url, options, userName, password }) => {
  const t = { client: OPCUAClient.create(options) };
  await t.client.connect(url);
  t.session = await t.client.createSession({ type: UserTokenType.UserName, userName, password });
  const [first, ...others] = CHECKS.map((check, i) => [i + 1, check]);
  const last = others.pop();
  const results = [await attempt(t, ...first)];
  results.push(...await Promise.all(others.map(([number, check]) => attempt(t, number, check))));
  results.push(await attempt(t, ...last));
  for (const { number, name, ok, got } of results) console.log(`${String(number).padStart(2)} ${ok ? "pass" : "FAIL"} ${name}: ${got}`);
  return results;
});
