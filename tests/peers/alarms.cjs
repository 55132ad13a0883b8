// An independent client's view of alarms: its own alarm list, acknowledgement, confirmation, comment, shelving, refresh.
// usage: see peer.cjs
// ns=4;s=ess0/SocLimitAlarm is active and wants to be confirmed. Prints one JSON object.
"use strict";
const {
  AttributeIds, DataType, TimestampsToReturn, constructEventFilter, ofType, resolveNodeId,
  installAlarmMonitoring, uninstallAlarmMonitoring,
} = require("node-opcua");
const { runSteps } = require("./peer.cjs");

const ALARM = "ns=4;s=ess0/SocLimitAlarm";
const wait = (ms) => new Promise((done) => setTimeout(done, ms));

async function until(condition) {
  for (let i = 0; i < 100; i++) {
    const found = await condition();
    if (found) return found;
    await wait(50);
  }
  throw new Error("it did not come to pass: " + condition);
}

let alarms;
const row = () => alarms.alarms().find((a) => a.conditionId.toString() === ALARM);
const field = (path) => path.split(".").reduce((at, name) => at?.[name], row()?.fields)?.value;
const call = async (session, objectId, methodId, ...inputArguments) =>
  (await session.call({ objectId, methodId, inputArguments })).statusCode.name;

const steps = {
  async its_alarm_list_has_the_alarm(session) {
    alarms = await installAlarmMonitoring(session);
    await until(() => row());
    return {
      type: field("eventType").toString(),
      source: field("sourceName"),
      name: field("conditionName"),
      severity: field("severity"),
      message: field("message").text,
      retain: row().getRetain(),
      acked: field("ackedState.id"),
      active: field("activeState.id"),
      inputNode: field("inputNode").toString(),
    };
  },
  async acknowledge(session) {
    const old = row().eventId;
    const said = await session.acknowledgeCondition(ALARM, old, "seen by a peer");
    await until(() => field("ackedState.id") === true);
    return {
      said: said.name,
      comment: field("comment").text,
      user: field("clientUserId"),
      again: (await session.acknowledgeCondition(ALARM, row().eventId, "again")).name,
      unknown: (await session.acknowledgeCondition(ALARM, Buffer.from("nonsense"), "x")).name,
    };
  },
  async comment(session) {
    const said = await session.addCommentCondition(ALARM, row().eventId, "and noted");
    await until(() => field("comment").text === "and noted");
    return said.name;
  },
  async shelve(session) {
    const minute = { dataType: DataType.Double, value: 60000 };
    const machine = `${ALARM}/ShelvingState`;
    const said = [await call(session, machine, "ns=0;i=9213", minute)];
    await until(() => field("suppressedOrShelved") === true);
    said.push(await call(session, ALARM, "ns=0;i=2947")); // Unshelve of ShelvedStateMachineType, on the condition itself
    await until(() => field("suppressedOrShelved") === false);
    said.push(await call(session, ALARM, "ns=0;i=2948"), await call(session, machine, "ns=0;i=9211"));
    said.push(await call(session, machine, "ns=0;i=9211"));
    return said;
  },
  async confirm(session) {
    const said = await session.confirmCondition(ALARM, row().eventId, "done");
    await until(() => field("confirmedState.id") === true);
    return said.name;
  },
  async an_operator_takes_nothing_out_of_use(session) {
    return [await call(session, ALARM, "ns=0;i=9028"), await call(session, ALARM, "ns=0;i=16403")];
  },
  async an_object_that_is_no_condition(session) {
    return [await call(session, "ns=4;s=ess0", "ns=0;i=9111", { dataType: DataType.ByteString, value: Buffer.from("x") },
      { dataType: DataType.LocalizedText, value: { text: "x" } })];
  },
  async instance_nodes(session) {
    const paths = ["AckedState/Id", "ConfirmedState/Id", "LimitState/CurrentState", "LowLimit", "ShelvingState/UnshelveTime", "Quality"];
    const values = await session.read(paths.map((p) => ({ nodeId: `${ALARM}/${p}`, attributeId: AttributeIds.Value })));
    return values.map((v) => v.value.value?.text ?? v.value.value?.name ?? v.value.value);
  },
  async a_second_list_begins_with_what_is(session) {
    await uninstallAlarmMonitoring(session);
    alarms = await installAlarmMonitoring(session);
    await until(() => row());
    return { comment: field("comment").text, acked: field("ackedState.id") };
  },
  async where_clause(session) {
    const subscription = await session.createSubscription2({
      requestedPublishingInterval: 50, requestedLifetimeCount: 1000, requestedMaxKeepAliveCount: 10,
      maxNotificationsPerPublish: 0, publishingEnabled: true, priority: 1,
    });
    const count = async (type) => {
      const seen = [];
      const item = await subscription.monitor(
        { nodeId: "ns=0;i=2253", attributeId: AttributeIds.EventNotifier },
        { samplingInterval: 0, queueSize: 100, discardOldest: true, filter: constructEventFilter(["Message", "EventType"], ofType(resolveNodeId(type))) },
        TimestampsToReturn.Both,
      );
      item.on("changed", (fields) => seen.push(fields[1].value.toString()));
      await call(session, "ns=0;i=2782", "ns=0;i=3875", { dataType: DataType.UInt32, value: subscription.subscriptionId });
      await until(() => seen.length >= 2 && seen.at(-1) === "ns=0;i=2788");
      await item.terminate();
      return seen;
    };
    const result = { limits: await count("ExclusiveLimitAlarmType"), others: await count("OffNormalAlarmType") };
    await subscription.terminate();
    return result;
  },
};

runSteps(steps);
