"""Control on another host: what the site and the host of its control tell each other, by OPC UA alone.

    site, [control] mode = "remote"                                   host of its control, [bridge] endpoint = "opc.tcp://…"

    drivers ⇄ image ⇄ opcua ── subscription: values, status, source times ──▶ bridge ⇄ image ⇄ control
                ▲       │                                                       │
             receiver ◀─┴◀─ Exchange: set-points with leases, results ──────────┘
                            ──▶ its answer: what clients wrote and proposed

The host's site is the site's layout with all devices owned by the bridge, so control there is the same process as anywhere. The
receiver stands in control's place at the site: it freezes frames and hands on what arrives. Leases travel as durations, arrival
is stamped by the clock of who receives: no clock of one host is compared with that of the other. When the two do not hear
each other, values at the host turn Uncertain and Bad, and leases at the site run out: devices go to their fail-safe.
"""
