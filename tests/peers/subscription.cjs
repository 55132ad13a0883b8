// An independent client's view of subscriptions: what arrives, when, and what is refused.
// usage: see peer.cjs
// ns=4;s=ess0/Soc rises by 1 every 100 ms, ns=4;s=ess0/ActivePower has no EURange. Prints one JSON object.
"use strict";
const {
  AttributeIds, TimestampsToReturn, MonitoringMode, DataChangeFilter, DataChangeTrigger, DeadbandType, ClientSubscription,
} = require("node-opcua");
const { runSteps } = require("./peer.cjs");

const SOC = "ns=4;s=ess0/Soc";
const POWER = "ns=4;s=ess0/ActivePower";
const wait = (ms) => new Promise((done) => setTimeout(done, ms));

function subscribed(session, publishingInterval, options = {}) {
  const subscription = ClientSubscription.create(session, {
    requestedPublishingInterval: publishingInterval, requestedLifetimeCount: 1000, requestedMaxKeepAliveCount: 10,
    maxNotificationsPerPublish: 0, publishingEnabled: true, priority: 1, ...options,
  });
  return new Promise((resolve) => subscription.on("started", () => resolve(subscription)));
}

// Raw requests, so that nothing is repaired or hidden by the library's own items.
async function monitored(session, subscription, nodeId, options = {}) {
  const { mode = MonitoringMode.Reporting, clientHandle = 1, filter = null, samplingInterval = 20, queueSize = 1 } = options;
  const response = await session.createMonitoredItems({
    subscriptionId: subscription.subscriptionId,
    timestampsToReturn: TimestampsToReturn.Both,
    itemsToCreate: [{
      itemToMonitor: { nodeId, attributeId: AttributeIds.Value },
      monitoringMode: mode,
      requestedParameters: { clientHandle, samplingInterval, filter, queueSize, discardOldest: true },
    }],
  });
  return response.results[0];
}

function collected(subscription) {
  const seen = [];
  subscription.on("raw_notification", (message) => {
    for (const data of message.notificationData ?? [])
      for (const item of data.monitoredItems ?? [])
        seen.push({ handle: item.clientHandle, value: item.value.value.value, status: item.value.statusCode.name, at: Date.now() });
  });
  return seen;
}

const steps = {
  async changes(session) {
    const subscription = await subscribed(session, 100);
    const seen = collected(subscription);
    await monitored(session, subscription, SOC, { queueSize: 10 });
    await wait(1500);
    await subscription.terminate();
    const values = seen.map((s) => s.value);
    return { count: values.length, rising: values.every((v, i) => i === 0 || v > values[i - 1]), status: seen[0]?.status };
  },
  async one_per_publish(session) {
    const subscription = await subscribed(session, 500);
    const seen = collected(subscription);
    await monitored(session, subscription, SOC, { queueSize: 0 });
    await wait(2300);
    await subscription.terminate();
    return seen.length;
  },
  async percent_without_range(session) {
    const subscription = await subscribed(session, 100);
    const filter = new DataChangeFilter({ trigger: DataChangeTrigger.StatusValue, deadbandType: DeadbandType.Percent, deadbandValue: 5 });
    const made = await monitored(session, subscription, POWER, { filter });
    await subscription.terminate();
    return made.statusCode.name;
  },
  async sampling_is_silent(session) {
    const subscription = await subscribed(session, 100);
    const seen = collected(subscription);
    await monitored(session, subscription, SOC, { mode: MonitoringMode.Sampling });
    await wait(800);
    await subscription.terminate();
    return seen.length;
  },
  async triggering(session) {
    const subscription = await subscribed(session, 100);
    const seen = collected(subscription);
    const trigger = await monitored(session, subscription, SOC, { clientHandle: 1 });
    const linked = await monitored(session, subscription, SOC, { clientHandle: 2, mode: MonitoringMode.Sampling });
    const answer = await session.setTriggering({
      subscriptionId: subscription.subscriptionId, triggeringItemId: trigger.monitoredItemId,
      linksToAdd: [linked.monitoredItemId], linksToRemove: [],
    });
    await wait(800);
    await subscription.terminate();
    return { added: answer.addResults.map((s) => s.name), reported: seen.some((s) => s.handle === 2) };
  },
  async modify_subscription(session) {
    const subscription = await subscribed(session, 5000);
    const seen = collected(subscription);
    await monitored(session, subscription, SOC);
    const answer = await session.modifySubscription({
      subscriptionId: subscription.subscriptionId, requestedPublishingInterval: 100, requestedLifetimeCount: 1000,
      requestedMaxKeepAliveCount: 10, maxNotificationsPerPublish: 0, priority: 1,
    });
    await wait(1000);
    await subscription.terminate();
    return { revised: answer.revisedPublishingInterval, several: seen.length >= 4 };
  },
  async modify_unknown_item(session) {
    const subscription = await subscribed(session, 100);
    const answer = await session.modifyMonitoredItems({
      subscriptionId: subscription.subscriptionId, timestampsToReturn: TimestampsToReturn.Both,
      itemsToModify: [{ monitoredItemId: 99999, requestedParameters: { clientHandle: 1, samplingInterval: 100, queueSize: 1, discardOldest: true } }],
    });
    await subscription.terminate();
    return answer.results[0].statusCode.name;
  },
  async republish_unknown(session) {
    const subscription = await subscribed(session, 100);
    let said;
    try {
      said = (await session.republish({ subscriptionId: subscription.subscriptionId, retransmitSequenceNumber: 9999 })).responseHeader.serviceResult.name;
    } catch (error) {
      said = error.message;
    }
    await subscription.terminate();
    return said;
  },
};

runSteps(steps);
