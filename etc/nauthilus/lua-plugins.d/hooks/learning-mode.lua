-- GET /api/v1/custom/learning-mode?enabled=true
-- Switches learning mode of the fleet, or says what it is when `enabled` is missing.

function nauthilus_run_hook(first, second)
    -- Here and not above: after a file that fails to load, Nauthilus may run the function of another hook.
    local hook = require("nauthilus_neural_hook")

    return hook.run({
        name = "learning-mode",
        parameters = { "enabled" },
        timeout_ms = hook.QUICK_MS,
        failed = function(result, given)
            if given.enabled == nil then
                result.message = "Failed to retrieve current learning mode"
            else
                result.message = "Failed to set learning mode"
            end
            -- Without the daemon rules alone decide, as in learning mode.
            result.learning_mode = true
        end,
    }, hook.session(first, second))
end
