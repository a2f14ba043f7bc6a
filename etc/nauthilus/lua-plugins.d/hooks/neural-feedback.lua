-- GET /api/v1/custom/neural-feedback?is_brute_force=true&request_id=…&client_ip=…&username=…
-- Tells what a request really was. A word that is neither true nor false is the daemon's to refuse, never "false".

local WORDS = { ["true"] = true, ["1"] = true, yes = true, ["false"] = false, ["0"] = false, no = false }

function nauthilus_run_hook(first, second)
    -- Here and not above: after a file that fails to load, Nauthilus may run the function of another hook.
    local hook = require("nauthilus_neural_hook")

    return hook.run({
        name = "neural-feedback",
        parameters = { "is_brute_force", "request_id", "client_ip", "username" },
        timeout_ms = hook.QUICK_MS,
        failed = function(result, given)
            result.message = "Failed to record feedback"
            result.is_brute_force = WORDS[given.is_brute_force or ""]
            hook.copy(result, given, { "request_id", "client_ip", "username" })
        end,
    }, hook.session(first, second))
end
