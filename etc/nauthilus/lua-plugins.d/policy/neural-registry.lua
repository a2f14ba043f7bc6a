-- Nauthilus 3: registers what neural.lua tells policies. List it under auth.policy.registry_scripts, then set
-- NAUTHILUS_NEURAL_POLICY_ATTRIBUTES=on: Nauthilus fails scripts that emit what is not registered.

local nauthilus_policy = require("nauthilus_policy")

nauthilus_policy.register_attribute({
    id = "lua.plugin.neural.verdict",
    stage = "pre_auth",
    operations = { "authenticate" },
    category = "environment",
    type = "string",
    description = "Verdict of nauthilus-neural: allow, watch, step_up or block",
})

nauthilus_policy.register_attribute({
    id = "lua.plugin.neural.probability",
    stage = "pre_auth",
    operations = { "authenticate" },
    category = "environment",
    type = "number",
    description = "Probability of an attack, 0 to 1; absent while no model serves",
})
