// Once per browser: that the site is open to other OPC UA clients.
import { state } from "ems-store";

export default {
  template: `
  <aside v-if="shown" class="hint">
    <div><b>Every value here is an OPC UA node.</b> UaExpert, node-opcua or your SCADA can read it, subscribe to it and steer by it.</div>
    <button type="button" @click="state.howToConnect = true"><svg class="icon"><use href="#i-plug" /></svg>How to connect</button>
    <button type="button" class="quiet-button" @click="dismiss" aria-label="Do not show again"><svg class="icon"><use href="#i-close" /></svg></button>
  </aside>`,
  data: () => ({ state, shown: !localStorage.getItem("ems-hint") }),
  methods: {
    dismiss() {
      localStorage.setItem("ems-hint", "seen");
      this.shown = false;
    },
  },
};
