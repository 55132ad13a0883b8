// An independent client's view of the state machines: types as its proxies draw them, present states, calls, transition events.
// usage: see peer.cjs
// ess0 and site have a state machine. Prints one JSON object.
"use strict";
const {
  AttributeIds, BrowseDirection, TimestampsToReturn, constructEventFilter, ofType, resolveNodeId,
} = require("node-opcua");
const { UAProxyManager } = require("node-opcua-client-proxy");
const { runSteps } = require("./peer.cjs");

const read = async (session, nodeId, attributeId = AttributeIds.Value) =>
  (await session.read({ nodeId, attributeId })).value.value;
const targets = async (session, nodeId, referenceTypeId, browseDirection = BrowseDirection.Forward) =>
  (await session.browse({ nodeId, referenceTypeId, browseDirection, includeSubtypes: false, resultMask: 63 })).references ?? [];
const name = async (session, nodeId) => (await read(session, nodeId, AttributeIds.BrowseName)).name;

async function typeOf(session, machine) {
  const [type] = await targets(session, machine, resolveNodeId("HasTypeDefinition"));
  const bases = [];
  for (let at = type.nodeId; at; ) {
    const [base] = await targets(session, at, resolveNodeId("HasSubtype"), BrowseDirection.Inverse);
    if (base) bases.push(base.browseName.name);
    at = base?.nodeId;
  }
  return { id: type.nodeId, name: type.browseName.name, bases };
}

async function machine(session, nodeId) {
  const type = await typeOf(session, nodeId);
  const manager = new UAProxyManager(session);
  await manager.start();
  const drawn = await manager.getStateMachineType(type.id);
  const transitions = [];
  for (const transition of drawn.transitions) {
    transitions.push(`${await name(session, transition.fromStateNode.nodeId)} -> ${await name(session, transition.toStateNode.nodeId)}`);
  }
  const result = {
    type: type.name,
    bases: type.bases,
    initial: await name(session, drawn.initialState.nodeId),
    states: await Promise.all(drawn.states.map((state) => name(session, state.nodeId))),
    transitions: transitions.sort(),
  };
  await manager.stop();
  return result;
}

async function present(session, machine) {
  const state = `${machine}/CurrentState`;
  const id = await read(session, `${state}/Id`);
  const last = `${machine}/LastTransition`;
  return {
    kind: (await targets(session, state, resolveNodeId("HasTypeDefinition")))[0].browseName.name,
    text: (await read(session, state)).text,
    node: await name(session, id),
    number: await read(session, `${state}/Number`),
    last: (await read(session, last)).text,
    lastNode: await name(session, await read(session, `${last}/Id`)),
    lastNumber: await read(session, `${last}/Number`),
    states: (await read(session, `${machine}/AvailableStates`)).length,
    transitions: (await read(session, `${machine}/AvailableTransitions`)).length,
  };
}

const call = async (session, objectId, methodId) => (await session.call({ objectId, methodId })).statusCode.name;

const steps = {
  device: (session) => machine(session, "ns=4;s=ess0/StateMachine"),
  site: (session) => machine(session, "ns=4;s=site/StateMachine"),
  device_now: (session) => present(session, "ns=4;s=ess0/StateMachine"),
  site_now: (session) => present(session, "ns=4;s=site/StateMachine"),
  async calls(session) {
    return [
      await call(session, "ns=4;s=ess0/StateMachine", "ns=4;s=ess0/Stop"),
      await call(session, "ns=4;s=ess0", "ns=4;s=ess0/Start"),
      await call(session, "ns=4;s=ess0", "ns=4;s=ess0/Acknowledge"),
      await call(session, "ns=4;s=bat0", "ns=4;s=ess0/Start"),
    ];
  },
  async event(session) {
    const subscription = await session.createSubscription2({ requestedPublishingInterval: 50, publishingEnabled: true });
    const filter = constructEventFilter(
      ["SourceName", "Message", "FromState", "ToState.Id", "Transition.Id"], ofType(resolveNodeId("TransitionEventType")));
    const item = await subscription.monitor(
      { nodeId: resolveNodeId("Server"), attributeId: AttributeIds.EventNotifier },
      { filter, queueSize: 10, samplingInterval: 0 }, TimestampsToReturn.Both);
    const fields = await new Promise((resolve) => item.on("changed", (found) => resolve(found)));
    await subscription.terminate();
    return [
      fields[0].value, fields[1].value.text, fields[2].value.text,
      await name(session, fields[3].value), await name(session, fields[4].value),
    ];
  },
};

runSteps(steps);
