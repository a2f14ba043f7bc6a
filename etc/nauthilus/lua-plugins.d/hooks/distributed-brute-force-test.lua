-- GET /api/v1/custom/distributed-brute-force-test?action=run_test&username=…&num_ips=20&country_code=DE
-- Simulates a distributed attack and says whether it was noticed; `action` is simulate_attack, check_detection or run_test.

function nauthilus_run_hook(first, second)
    -- Here and not above: after a file that fails to load, Nauthilus may run the function of another hook.
    local hook = require("nauthilus_neural_hook")

    return hook.run({
        name = "distributed-brute-force-test",
        parameters = { "action", "username", "num_ips", "country_code" },
        timeout_ms = hook.QUICK_MS,
        failed = function(result, given)
            result.message = "Distributed brute force test failed"
            hook.copy(result, given, { "username", "country_code" })
            result.num_ips = hook.number(given.num_ips)
        end,
    }, hook.session(first, second))
end
