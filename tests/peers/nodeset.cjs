// Loads our types into node-opcua's address space, and says what it made of them.
// usage: node nodeset.cjs <NodeSet2 file>...   in order of their dependencies
"use strict";
const { AddressSpace, NodeClass } = require("node-opcua");
const { generateAddressSpace } = require("node-opcua-address-space/nodeJS");

(async () => {
  const files = process.argv.slice(2);
  const addressSpace = AddressSpace.create();
  await generateAddressSpace(addressSpace, files);
  const index = addressSpace.getNamespaceIndex("urn:unified-ems:types");
  const namespace = addressSpace.getNamespace(index);
  const nodes = [...namespace.nodeIterator()];
  const ess = namespace.findObjectType("IEssType");
  const soc = ess.getComponentByName("Soc");
  const unit = soc.getPropertyByName("EngineeringUnits", 0).readValue().value.value;
  const names = (kind) => nodes.filter((node) => node.nodeClass === kind).map((node) => node.browseName.name);
  console.log(JSON.stringify({
    nodes: nodes.length,
    objectTypes: names(NodeClass.ObjectType).sort(),
    enumerations: names(NodeClass.DataType).sort(),
    soc: { dataType: soc.dataType.toString(), unit: unit.displayName.text, typeDefinition: soc.typeDefinitionObj.browseName.name },
    supertype: ess.subtypeOfObj.browseName.name,
  }));
  addressSpace.dispose();
})().catch((error) => {
  console.error(error);
  process.exit(1);
});
