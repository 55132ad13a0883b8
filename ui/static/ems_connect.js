// Where other OPC UA clients find the site, and how they get in.
import { copy, state } from "ems-store";

export default {
  template: `
  <div class="connect">
    <button type="button" class="chip" @click="take" :aria-label="'Copy the OPC UA endpoint ' + endpoint" title="Copy the OPC UA endpoint">
      <code>{{ endpoint }}</code><svg class="icon"><use :href="copied ? '#i-check' : '#i-copy'" /></svg>
    </button>
    <button type="button" class="round" @click="$refs.how.showModal()" aria-label="How to connect an OPC UA client" title="How to connect an OPC UA client">
      <svg class="icon"><use href="#i-plug" /></svg>
    </button>
    <dialog ref="how" class="how" aria-labelledby="how-title">
      <h2 id="how-title">Connect an OPC UA client</h2>
      <p>UaExpert, node-opcua, your SCADA: every value and every method of this panel is there for them, too.</p>
      <button type="button" class="chip wide" @click="take"><code>{{ endpoint }}</code><svg class="icon"><use :href="copied ? '#i-check' : '#i-copy'" /></svg></button>
      <ol>
        <li><b>Endpoint.</b> In UaExpert: Server → Add, then paste the address above under Custom Discovery.</li>
        <li><b>Security.</b> Choose <b>Aes256_Sha256_RsaPss</b> or <b>Basic256Sha256</b> with <b>Sign &amp; Encrypt</b>.</li>
        <li><b>User.</b> The name and password you use here; what your role allows here, it allows there.</li>
        <li><b>Trust.</b> The first attempt is refused, for the client’s certificate is new.
          <template v-if="mayTrust">Trust it under <a href="/users">Users and certificates</a>,</template><template v-else>An administrator trusts it in this panel,</template> or on the site’s machine:
          <code class="line">ems certs list</code><code class="line">ems certs trust THUMBPRINT</code></li>
        <li><b>Look.</b> Trust the server’s certificate in the client and connect again. The site is under <b>Objects → EMS</b>.</li>
      </ol>
      <form method="dialog"><button class="primary" autofocus>Close</button></form>
    </dialog>
  </div>`,
  props: { endpoint: String, mayTrust: Boolean },
  data: () => ({ state, copied: false }),
  watch: {
    "state.howToConnect"(asked) {
      if (asked) this.$refs.how.showModal();
      state.howToConnect = false;
    },
  },
  methods: {
    async take() {
      await copy(this.endpoint);
      this.copied = true;
      clearTimeout(this.timer);
      this.timer = setTimeout(() => (this.copied = false), 2000);
    },
  },
};
