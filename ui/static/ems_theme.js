// Light or dark: the system's choice until the person makes one.
import { toggleTheme } from "ems-store";

export default {
  template: `<button type="button" class="round" @click="toggle" aria-label="Switch between light and dark"><svg class="icon"><use href="#i-theme" /></svg></button>`,
  methods: {
    toggle() {
      toggleTheme();
    },
  },
};
