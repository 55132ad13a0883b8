// Once per browser: where any other OPC UA client finds the site.
export default {
  template: `
  <aside v-if="shown" class="hint">
    <div><b>Every value here is an OPC UA node.</b> Point UaExpert, node-opcua or your SCADA at <code>{{ endpoint }}</code> and trust its certificate once.</div>
    <button type="button" @click="copy"><svg class="icon"><use :href="copied ? '#i-check' : '#i-copy'" /></svg>{{ copied ? 'Copied' : 'Copy' }}</button>
    <button type="button" class="quiet-button" @click="dismiss" aria-label="Do not show again"><svg class="icon"><use href="#i-close" /></svg></button>
  </aside>`,
  props: { endpoint: String },
  data: () => ({ shown: !localStorage.getItem("ems-hint"), copied: false }),
  methods: {
    async copy() {
      await navigator.clipboard.writeText(this.endpoint);
      this.copied = true;
    },
    dismiss() {
      localStorage.setItem("ems-hint", "seen");
      this.shown = false;
    },
  },
};
