-- GET /api/v1/custom/train-neural-network?epochs=50&samples=5000
-- Trains now and answers when it has ended.

function nauthilus_run_hook(first, second)
    -- Here and not above: after a file that fails to load, Nauthilus may run the function of another hook.
    local hook = require("nauthilus_neural_hook")

    return hook.run({
        name = "train-neural-network",
        parameters = { "epochs", "samples" },
        timeout_ms = hook.TRAIN_MS,
        failed = function(result, given)
            result.message = "Neural network training failed"
            result.epochs = hook.number(given.epochs, 50)
            result.samples = hook.number(given.samples, 5000)
        end,
    }, hook.session(first, second))
end
