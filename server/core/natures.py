"""The natures of the information model: everything a device of an energy site can be.

Signs (docs/reference/glossary.md): ESS and PV are positive out of the device; a grid meter is positive on import;
loads and chargers are positive on consumption. `balance: consumption = grid + ess + production` (AC sides).
"""

from __future__ import annotations

from enum import IntEnum
from typing import ClassVar

from .channel import Access, Count, DateTime, Level, channel, decided, writable
from .nature import Method, Nature
from .units import (
    SECOND,
    Ampere,
    Celsius,
    GramPerKwh,
    Hertz,
    MetrePerSecond,
    Ohm,
    Percent,
    Second,
    Var,
    Volt,
    VoltAmpere,
    Watt,
    WattHour,
    WattPerM2,
)


class CommState(IntEnum):
    """Communication with the device."""

    Up = 0
    Degraded = 1
    Down = 2


class GridMode(IntEnum):
    """What the storage is connected to."""

    OnGrid = 0
    OffGrid = 1
    Genset = 2


class StartStop(IntEnum):
    """A wish to start or stop a device."""

    Undefined = 0
    Start = 1
    Stop = 2


class OperatingState(IntEnum):
    """State of a device that is started and stopped."""

    Stopped = 0
    Starting = 1
    Running = 2
    Stopping = 3
    Failed = 4


class EvcsStatus(IntEnum):
    """Connector status, names of OCPP 1.6."""

    Available = 0
    Preparing = 1
    Charging = 2
    SuspendedEVSE = 3
    SuspendedEV = 4
    Finishing = 5
    Reserved = 6
    Unavailable = 7
    Faulted = 8


class SgReady(IntEnum):
    """SG-ready states of a heat pump."""

    Lock = 0
    Regular = 1
    Recommend = 2
    ForceOn = 3


class SiteMode(IntEnum):
    """State of the site's state machine."""

    Init = 0
    Standby = 1
    Run = 2
    Island = 3
    Fault = 4
    Shutdown = 5


class RunState(IntEnum):
    """What a controller did in the last cycle."""

    Disabled = 0
    Idle = 1
    Active = 2
    Fault = 3


class EntryState(IntEnum):
    """State of a configuration entry, with Home Assistant's names."""

    NotLoaded = 0
    SetupInProgress = 1
    Loaded = 2
    SetupError = 3
    SetupRetry = 4
    MigrationError = 5
    UnloadInProgress = 6
    FailedUnload = 7


class MeterRole(IntEnum):
    """Where in the site a meter sits; decides its sign and the sums it enters."""

    Grid = 0
    Production = 1
    Consumption = 2
    Submeter = 3
    ManagedConsumption = 4


class Device(Nature):
    """Every device: is it well, and can we hear it."""

    State = channel(Level, "Worst active state of the device.")
    CommState = channel(CommState, "Communication with the device.")
    LastCommunication = channel(DateTime, "When the device last answered.")
    NoFailSafe = channel(bool, "The device would stay on its last set-point if we were gone.", level=Level.Warning)
    methods = (
        Method("ResetFaults", "Acknowledge and clear the device's faults."),
        Method("SetMaintenance", "Take the device out of automatic control."),
    )


class Ess(Nature):
    """An energy storage system seen from its AC side."""

    Soc = channel(Percent, "State of charge.", low=0, high=100)
    Soh = channel(Percent, "State of health.", low=0, high=100)
    Capacity = channel(WattHour, "Usable capacity.", low=0)
    GridMode = channel(GridMode, "What the storage is connected to.")
    ActivePower = channel(Watt, "Power out of the storage: + discharge, - charge.", per_phase=True)
    ReactivePower = channel(Var, "Reactive power out of the storage.", per_phase=True)
    MaxApparentPower = channel(VoltAmpere, "Rated apparent power.", low=0)
    ChargeEnergy = channel(WattHour, "Energy charged since commissioning.", low=0, persistent=True)
    DischargeEnergy = channel(WattHour, "Energy discharged since commissioning.", low=0, persistent=True)
    MinCellVoltage = channel(Volt, "Lowest cell voltage.", low=0, high=10)
    MaxCellVoltage = channel(Volt, "Highest cell voltage.", low=0, high=10)
    MinCellTemperature = channel(Celsius, "Lowest cell temperature.", low=-60, high=150)
    MaxCellTemperature = channel(Celsius, "Highest cell temperature.", low=-60, high=150)


class ManagedEss(Ess):
    """A storage whose power the engine sets."""

    AllowedChargePower = channel(Watt, "Most negative power allowed now; positive forces discharge.")
    AllowedDischargePower = channel(Watt, "Highest power allowed now; negative forces charge.")
    SetActivePower = writable(Watt, "Active power set-point: + discharge, - charge.", per_phase=True)
    SetReactivePower = writable(Var, "Reactive power set-point.", per_phase=True)
    PowerPrecision = channel(Watt, "Step of the set-point the device can follow.", low=0)


class HybridEss(ManagedEss):
    """A storage with PV on its DC side: P_ac = P_dc + P_pv."""

    DcDischargePower = channel(Watt, "Power out of the battery itself: + discharge, - charge.")
    DcChargeEnergy = channel(WattHour, "Energy into the battery since commissioning.", low=0, persistent=True)
    DcDischargeEnergy = channel(WattHour, "Energy out of the battery since commissioning.", low=0, persistent=True)


class MetaEss(ManagedEss):
    """A cluster of storages that acts as one."""

    MemberCount = channel(int, "Members that take part now.", low=0)


class Battery(Nature):
    """A battery behind an inverter, as its BMS reports it."""

    Voltage = channel(Volt, "Terminal voltage.", low=0)
    Current = channel(Ampere, "Current out of the battery: + discharge, - charge.")
    Soc = channel(Percent, "State of charge.", low=0, high=100)
    Soh = channel(Percent, "State of health.", low=0, high=100)
    Capacity = channel(WattHour, "Usable capacity.", low=0)
    ChargeMaxCurrent = channel(Ampere, "Highest charge current allowed; negative forces discharge.")
    DischargeMaxCurrent = channel(Ampere, "Highest discharge current allowed; negative forces charge.")
    ChargeMaxVoltage = channel(Volt, "Charge end voltage.", low=0)
    DischargeMinVoltage = channel(Volt, "Discharge end voltage.", low=0)
    InnerResistance = channel(Ohm, "Inner resistance.", low=0)
    MainContactor = channel(bool, "The main contactor is closed.")
    CellVoltages = channel(list[Volt], "Voltage of each cell.", low=0, high=10)
    CellTemperatures = channel(list[Celsius], "Temperature of each sensor.", low=-60, high=150)


class Bms(Battery):
    """A battery management system that is spoken to directly."""


class StartStoppable(Nature):
    """A device that is started and stopped by command, and takes its time for both; the engine drives it (state_machine.py)."""

    Running = channel(bool, "The device runs.")
    StartStop = writable(StartStop, "Command to the device; what a client writes is wished until it writes another.")
    ResetFault = channel(bool, "Tells the device to clear its fault.", access=Access.ENGINE)
    OperatingState = decided(OperatingState, "State of the device's state machine.", "Running", "StartStop")
    LastTransition = decided(int, "Number of the last transition, 10 · from + to.", "Running", "StartStop", low=0, high=99)
    StartStopFailed = decided(bool, "The device failed and waits for an operator.", "Running", "StartStop")
    StartStopReason = decided(str, "Why the device is in its state.", "Running", "StartStop")
    methods = (
        Method("Start", "Wish the device to run."),
        Method("Stop", "Wish the device to stand."),
        Method("Acknowledge", "Take note of the device's failure; it may be started again."),
    )


class Inverter(StartStoppable):
    """A power converter between DC and AC."""

    ActivePower = channel(Watt, "Power out of the AC side.", per_phase=True)
    ReactivePower = channel(Var, "Reactive power out of the AC side.", per_phase=True)
    ApparentPower = channel(VoltAmpere, "Apparent power at the AC side.", low=0)
    MaxApparentPower = channel(VoltAmpere, "Rated apparent power.", low=0)
    DcVoltage = channel(Volt, "DC link voltage.", low=0)
    DcCurrent = channel(Ampere, "DC current into the inverter.")
    DcPower = channel(Watt, "DC power into the inverter.")
    Temperature = channel(Celsius, "Cabinet or heat sink temperature.", low=-60, high=200)


class Meter(Nature):
    """An electricity meter. Its role gives the sign: grid + import, production + out, consumption + in."""

    ActivePower = channel(Watt, "Active power.", per_phase=True)
    ReactivePower = channel(Var, "Reactive power.", per_phase=True)
    ApparentPower = channel(VoltAmpere, "Apparent power.", low=0, per_phase=True)
    PowerFactor = channel(float, "Power factor.", low=-1, high=1, per_phase=True)
    Voltage = channel(Volt, "Voltage, phase to neutral.", low=0, per_phase=True)
    Current = channel(Ampere, "Current.", per_phase=True)
    Frequency = channel(Hertz, "Frequency.", low=0, high=100)
    ImportEnergy = channel(WattHour, "Energy imported or consumed since commissioning.", low=0, per_phase=True, persistent=True)
    ExportEnergy = channel(WattHour, "Energy exported or produced since commissioning.", low=0, per_phase=True, persistent=True)


class Pv(Meter):
    """A PV inverter or plant."""

    ActivePowerLimit = writable(Watt, "Highest power the plant may produce.", low=0)
    MaxActivePower = channel(Watt, "Rated power.", low=0)
    StringVoltages = channel(list[Volt], "Voltage of each DC string.", low=0)
    StringCurrents = channel(list[Ampere], "Current of each DC string.")
    Irradiance = channel(WattPerM2, "Irradiance in the module plane.", low=0, high=1600)
    ModuleTemperature = channel(Celsius, "Module temperature.", low=-60, high=150)


class Evcs(Meter):
    """An electric vehicle charging station with one connector."""

    Status = channel(EvcsStatus, "Connector status.")
    ChargePower = channel(Watt, "Power into the vehicle.", low=0)
    SessionEnergy = channel(WattHour, "Energy of the running session.", low=0)
    Phases = channel(int, "Phases in use.", low=0, high=3)
    MinHardwarePower = channel(Watt, "Lowest power the station can charge with.", low=0)
    MaxHardwarePower = channel(Watt, "Highest power the station can charge with.", low=0)
    SetChargePowerLimit = writable(Watt, "Highest power the vehicle may draw.", low=0)
    SetPhases = writable(int, "Phases the station shall use, 1 or 3.", low=1, high=3)
    SetEnergyLimit = writable(WattHour, "Energy after which the session ends; 0 is no limit.", low=0)
    Soc = channel(Percent, "State of charge of the vehicle, where it tells.", low=0, high=100)
    IdTag = channel(str, "Token that started the session.")
    methods = (
        Method("RemoteStart", "Start a charging session."),
        Method("RemoteStop", "End the charging session."),
        Method("Unlock", "Unlock the connector."),
        Method("Reset", "Restart the station."),
    )


class Load(Nature):
    """A consumer that may be switched or set."""

    ActivePower = channel(Watt, "Power consumed.")
    SetPower = writable(Watt, "Power the load may draw.", low=0)
    SetState = writable(bool, "On or off.")
    Interruptible = channel(bool, "The load may be switched off while it runs.")
    MinRunTime = channel(Second, "Shortest time the load runs once started.", low=0)


class Generator(StartStoppable):
    """A combustion generator."""

    ActivePower = channel(Watt, "Power out of the generator.", per_phase=True)
    MaxActivePower = channel(Watt, "Rated power.", low=0)
    FuelLevel = channel(Percent, "Fuel left.", low=0, high=100)


class Wind(Meter):
    """A wind turbine."""

    ActivePowerLimit = writable(Watt, "Highest power the turbine may produce.", low=0)
    MaxActivePower = channel(Watt, "Rated power.", low=0)
    WindSpeed = channel(MetrePerSecond, "Wind speed at the hub.", low=0, high=100)


class Hvac(Nature):
    """Heating, ventilation and air conditioning."""

    ActivePower = channel(Watt, "Power consumed.", low=0)
    RoomTemperature = channel(Celsius, "Room temperature.", low=-60, high=100)
    SetTemperature = writable(Celsius, "Wanted room temperature.", low=5, high=35)


class HeatPump(Nature):
    """A heat pump with SG-ready inputs."""

    ActivePower = channel(Watt, "Power consumed.", low=0)
    FlowTemperature = channel(Celsius, "Flow temperature.", low=-60, high=120)
    SgReady = writable(SgReady, "SG-ready state.")


class Thermometer(Nature):
    """A temperature sensor."""

    Temperature = channel(Celsius, "Temperature.", low=-100, high=500)


class Weather(Nature):
    """A weather station."""

    Irradiance = channel(WattPerM2, "Global irradiance.", low=0, high=1600)
    Temperature = channel(Celsius, "Air temperature.", low=-60, high=60)
    WindSpeed = channel(MetrePerSecond, "Wind speed.", low=0, high=100)
    CloudCover = channel(Percent, "Cloud cover.", low=0, high=100)


class DigitalIo(Nature):
    """Digital inputs and outputs."""

    Input = channel(list[bool], "State of each input.")
    Output = writable(list[bool], "State of each output.")


class AnalogIo(Nature):
    """Analogue inputs and outputs."""

    Input = channel(list[float], "Value of each input.")
    Output = writable(list[float], "Value of each output.")


class Tariff(Nature):
    """What energy costs now."""

    BuyPrice = channel(float, "Price of imported energy, currency per kWh.")
    SellPrice = channel(float, "Price of exported energy, currency per kWh.")
    Currency = channel(str, "ISO 4217 code.")
    CarbonIntensity = channel(GramPerKwh, "CO2e of imported energy.", low=0)


class Site(Nature):
    """The site as a whole: sums over its devices, the power-flow split, mode, and the operator's hand."""

    Mode = writable(SiteMode, "State of the site.")
    LastTransition = channel(int, "Number of the last change of Mode, 10 · from + to.", low=0, high=99)
    WorstState = channel(Level, "Worst active state of all devices and controllers.")
    GridPower = channel(Watt, "Power from the grid: + import, - export.")
    ProductionPower = channel(Watt, "Power produced by PV, wind and generators (AC).", low=0)
    EssPower = channel(Watt, "Power out of all storages (AC): + discharge, - charge.")
    ConsumptionPower = channel(Watt, "Power consumed: grid + ess + production.")
    EvPower = channel(Watt, "Part of the consumption that charges vehicles.", low=0)
    UnmanagedConsumptionPower = channel(Watt, "Consumption less what the engine manages.")
    EssSoc = channel(Percent, "State of charge of all storages, weighted by capacity.", low=0, high=100)
    EssCapacity = channel(WattHour, "Capacity of all storages.", low=0)
    SelfConsumption = channel(Percent, "Share of production used on site.", low=0, high=100)
    Autarky = channel(Percent, "Share of consumption not drawn from the grid.", low=0, high=100)
    GridImportEnergy = channel(WattHour, "Energy imported since commissioning.", low=0, persistent=True)
    GridExportEnergy = channel(WattHour, "Energy exported since commissioning.", low=0, persistent=True)
    ProductionEnergy = channel(WattHour, "Energy produced since commissioning.", low=0, persistent=True)
    ConsumptionEnergy = channel(WattHour, "Energy consumed since commissioning.", low=0, persistent=True)
    ProductionToConsumption = channel(Watt, "Power-flow split: production used at once.", low=0)
    ProductionToGrid = channel(Watt, "Power-flow split: production exported.", low=0)
    ProductionToEss = channel(Watt, "Power-flow split: production stored.", low=0)
    GridToConsumption = channel(Watt, "Power-flow split: import used at once.", low=0)
    GridToEss = channel(Watt, "Power-flow split: import stored.", low=0)
    EssToConsumption = channel(Watt, "Power-flow split: storage used on site.", low=0)
    EssToGrid = channel(Watt, "Power-flow split: storage exported.", low=0)
    Frequency = channel(Hertz, "Grid frequency.", low=0, high=100)
    EmergencyStopActive = channel(bool, "Emergency stop is active: all outputs are at safe values.", level=Level.Fault)
    OverrideRemaining = writable(Second, "Time left of the manual override; writing takes or releases it.", low=0, high=86400)
    Explanation = channel(str, "Who asked for what, what limited it, and why.")
    methods = (
        Method("SetMode", "Wish the site into Standby (1) or Run (2).", (("Mode", None, "Standby = 1, Run = 2."),)),
        Method(
            "AcquireManualOverride",
            "Take set-points by hand; writes of set-points then count until the time is over.",
            (("Timeout", SECOND, "How long the override holds, 1 to 86400 s."),),
        ),
        Method("ReleaseManualOverride", "Give the set-points back to the controllers."),
        Method("EmergencyStop", "Force all outputs to safe values, outside arbitration, until reset."),
        Method("ResetEmergencyStop", "End the emergency stop once its cause is gone."),
        Method(
            "SetParameters",
            "Set parameters of several controllers in one cycle: all of them, or none when one is wrong.",
            (("Names", list[str], "Such as peak0/import_max_w or peak0/Enabled."), ("Values", list[float], "A value for each.")),
            (("Refusals", list[str], "What is wrong, with its name; empty when all were taken."),),
        ),
        Method(
            "SetDocument",
            "Hand in a schedule, forecast, price series or calendar; it replaces the one before of this name.",
            (
                ("Name", str, "Kind and what it is for, such as schedule/ess0, price/buy or calendar/night."),
                ("ExpectedRevision", int, "Revision it is to replace; 0 for whichever there is."),
                ("Content", str, "JSON, as the how-to on planning says."),
            ),
            (
                ("Revision", int, "Of the new document; 0 when it was refused."),
                ("Refusals", list[str], "What is wrong, where, and what was expected; empty when it was taken."),
            ),
        ),
        Method(
            "RemoveDocument",
            "Do without a document from now on.",
            (("Name", str, "Such as schedule/ess0."),),
            (("Refusals", list[str], "What is wrong; empty when it was removed."),),
        ),
        Method(
            "GetDocument",
            "A document in its newest revision.",
            (("Name", str, "Such as schedule/ess0."),),
            (("Revision", int, "Its number."), ("Content", str, "JSON, as it was handed in.")),
        ),
        Method(
            "ListDocuments",
            "All documents.",
            (),
            (
                ("Names", list[str], "Such as schedule/ess0."),
                ("Revisions", list[int], "Of each."),
                ("Users", list[str], "Who handed each in."),
                ("Arrived", list[str], "When, ISO 8601 in UTC."),
                ("Ends", list[str], "When its last row ends, empty for a calendar."),
            ),
        ),
    )


class Cycle(Nature):
    """The control cycle, as it measures itself."""

    CycleTime = channel(Second, "Period of the cycle.", low=0)
    Counter = channel(Count, "Cycles since start.", low=0)
    Slips = channel(Count, "Cycles that started late or ended after the next deadline.", low=0)
    LastDuration = channel(Second, "Work of the last cycle.", low=0)
    WorstDuration = channel(Second, "Longest work since start.", low=0)
    Jitter = channel(Second, "Lateness of the last cycle's start.")
    ImageTime = channel(DateTime, "When the image was frozen.")
    Restarts = channel(Count, "Times the control process was started for this run.", low=0)


class ControllerStatus(Nature):
    """Every controller: on or off, what it does, and why."""

    Enabled = writable(bool, "The controller takes part in arbitration.", persistent=True)
    Priority = channel(int, "Order of arbitration, lower first.", low=0, high=1000)
    RunState = channel(RunState, "What the controller did in the last cycle.")
    LastRunDuration = channel(Second, "Time the controller took in the last cycle.", low=0)
    ErrorCount = channel(Count, "Cycles the controller failed or overran since start.", low=0)
    Explanation = channel(str, "What it asked for, and what limited it.")
    Claims = channel(str, "The same as data: a JSON list of what it asks, with who, kind, node, why, asked, granted, by, unit.")
    Schedule = channel(str, "What a schedule sets now, and until when; empty while none does.")
    methods: ClassVar[tuple[Method, ...]] = (
        Method("Enable", "Let the controller take part."),
        Method("Disable", "Keep the controller out of arbitration."),
        Method(
            "SetParameters",
            "Set several parameters in one cycle: all of them, or none when one is wrong.",
            (("Names", list[str], "Names of parameters, or Enabled."), ("Values", list[float], "A value for each name.")),
            (("Refusals", list[str], "What is wrong, with its name; empty when all were taken."),),
        ),
    )


class ForeignControl(ControllerStatus):
    """A controller whose constraints a client of the OPC UA server proposes."""

    methods = (
        *ControllerStatus.methods,
        Method(
            "ProposeConstraints",
            "Ask for constraints, all of them or none; they replace those before and end with the lease or the session.",
            (
                ("Kinds", list[str], "Of each constraint: bound, target, reserve or add."),
                ("Nodes", list[str], "The power each is about, such as ess0/ActivePower or grid/ActivePower."),
                ("Low", list[float], "Least power, -infinity where it is open; of a reserve the room to keep down."),
                ("High", list[float], "Highest power, infinity where it is open; of a reserve the room to keep up."),
                ("Priorities", list[int], "Of each, not below that of the controller, which counts when this is empty."),
                ("Reasons", list[str], "Why, for people; may be empty."),
                ("Lease", SECOND, "How long they hold unless they are proposed again."),
            ),
            (("Refusals", list[str], "What is wrong, as `number: reason`; empty when all were taken."),),
        ),
        Method("WithdrawConstraints", "Ask for nothing from now on."),
    )


class ProcessStatus(Nature):
    """A process of the site: does it work, and what is wrong with it."""

    State = channel(Level, "Worst trouble the process has.")
    Reason = channel(str, "What is wrong with the process.")
    Restarts = channel(Count, "How often the process was started again since the site was started.", low=0)


class ConfigEntry(Nature):
    """A configured integration: is it running, and if not, why and when next."""

    State = channel(EntryState, "State of the entry.")
    Reason = channel(str, "Why the entry is not loaded.")
    NextRetry = channel(DateTime, "When the entry is tried again.")
