-- GET /api/v1/custom/distributed-brute-force-admin?action=get_metrics
-- Shows and resets the protection against distributed attacks; `action` is get_metrics (default), reset_protection or
-- reset_account (with `username`).

function nauthilus_run_hook(first, second)
    -- Here and not above: after a file that fails to load, Nauthilus may run the function of another hook.
    local hook = require("nauthilus_neural_hook")

    return hook.run({
        name = "distributed-brute-force-admin",
        parameters = { "action", "username" },
        timeout_ms = hook.QUICK_MS,
        failed = function(result, given)
            result.message = "Distributed brute force administration failed"
            hook.copy(result, given, { "username" })
        end,
    }, hook.session(first, second))
end
