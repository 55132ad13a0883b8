"""Whole sites in virtual time, from a seed: the real engine and the real controllers, a physical plant, and everything that goes
wrong in years, while invariants are checked after every step. See docs/explanations/simulation.md.

    site.py        what a seed makes: devices, clusters, fuses, controllers with their parameters (chosen by settings.py)
    world.py       sun, building, prices and the public grid
    devices.py     storages, plants, chargers, loads, meters: physics in, measurements out
    plant.py       all of them at one connection, with feeders, islands and blackouts
    faults.py      what devices do wrong
    deeds.py       what people and machines do to the site
    invariants.py  what must hold, after every step
    calm.py        what must hold while nothing changes
    run.py         the loop
"""
