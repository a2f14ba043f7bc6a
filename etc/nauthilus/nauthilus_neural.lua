-- The functions that scripts of Nauthilus 1.7 know from `require("nauthilus_neural")`, on the nauthilus-neural daemon.
-- Lua 5.1; for features, environment sources, actions and hooks.
--
-- Arguments, defaults, results and raised errors are those of 1.7. What differs, because it was a defect: no function
-- reports a success that stored nothing, and what add_additional_features cannot use is an error. Features of one request
-- wait in its context until neural.lua scores it; this file keeps nothing between two calls.

local client = require("nauthilus_neural_client")

local neural = {}

-- Where the features of a request wait: a JSON text, because Nauthilus converts tables on their way.
local FEATURES_KEY = "nauthilus_neural_features"
-- The daemon's own bounds.
local FEATURES_MAX = 64
local NAME_MAX = 64
local TEXT_MAX = 256
-- Commands wait for the store; a training may take as long as Nauthilus lets a script run (120 s).
local COMMAND_MS = 10000
local TRAIN_MS = 110000
-- Of the attempt's own columns, never features.
local SKIPPED = { ClientIP = true, client_ip = true, Username = true, username = true }

-- Features and encodings that were given in this request; empty tables when none were.
function neural.features()
    local context = client.module("nauthilus_context")
    local stored = context ~= nil and context.context_get(FEATURES_KEY) or nil
    local found = type(stored) == "string" and client.decode(stored) or {}
    return found.features or {}, found.encoding or {}
end

-- One value as it is stored; nil when it is left out, and a message when it must not be given at all.
local function usable(name, value)
    local kind = type(value)
    if kind == "boolean" then
        return value
    elseif kind == "number" then
        -- 0/0 and 1/0 say nothing, and a login must not fail because of them.
        if value ~= value or value == math.huge or value == -math.huge then
            return nil
        end
        return value
    elseif kind == "string" then
        return client.clean(value, TEXT_MAX)
    end
    return nil, "feature \"" .. name .. "\" is a " .. kind .. "; features are numbers, truth values or strings"
end

-- All features of a table, checked before any of them is stored; nil and a message when the table cannot be used.
local function checked(given)
    local features, count = {}, 0
    for name, value in pairs(given) do
        count = count + 1
        if count > FEATURES_MAX then
            return nil, "the table has more than " .. FEATURES_MAX .. " entries"
        end
        if type(name) ~= "string" then
            return nil, "a key is a " .. type(name) .. "; names of features are strings"
        end
        if name == "" or #name > NAME_MAX or client.clean(name, NAME_MAX) ~= name then
            return nil, "a name of a feature is empty, longer than " .. NAME_MAX .. " bytes or not plain text"
        end
        if not SKIPPED[name] then
            local value, message = usable(name, value)
            if message ~= nil then
                return nil, message
            end
            features[name] = value
        end
    end
    return features
end

-- Adds features to the score of this request. `given`: name to number, truth value or string. `encoding` of its strings:
-- "one-hot" (default) or "embedding". Later features win over earlier ones of the same name. Returns nothing.
function neural.add_additional_features(given, encoding)
    if type(given) ~= "table" then
        error("bad argument #1 to add_additional_features (table expected, got " .. type(given) .. ")", 2)
    end
    if type(encoding) ~= "string" then
        encoding = "one-hot"
    elseif encoding ~= "one-hot" and encoding ~= "embedding" then
        error("bad argument #2 to add_additional_features (\"one-hot\" or \"embedding\" expected)", 2)
    end
    local added, message = checked(given)
    if added == nil then
        error("bad argument #1 to add_additional_features (" .. message .. ")", 2)
    end
    local context, missing = client.module("nauthilus_context")
    if context == nil then
        error("add_additional_features: " .. missing .. ", so there is no request to add features to", 2)
    end

    local features, encodings = neural.features()
    for name, value in pairs(added) do
        features[name] = value
        encodings[name] = type(value) == "string" and encoding or nil
    end
    local count = 0
    for _ in pairs(features) do
        count = count + 1
    end
    if count > FEATURES_MAX then
        error("add_additional_features: this request would have more than " .. FEATURES_MAX .. " features", 2)
    end
    local text, unwritable = client.encode({ features = features, encoding = encodings })
    if text == nil then
        error("add_additional_features: " .. unwritable, 2)
    end
    context.context_set(FEATURES_KEY, text)
end

-- Whether the daemon's model may have a say at all; false and a message when it may not, or when the daemon is away.
local function enabled(timeout_ms)
    local answer, message, status = client.send({
        method = "GET", path = "/v1/learning-mode", timeout_ms = timeout_ms, admin = true,
    })
    if answer == nil then
        -- A token that may not score can still be good for the command itself.
        if status == 401 or status == 403 then
            return true
        end
        return false, message
    end
    if answer.enabled == false then
        return false, "machine learning is disabled in nauthilus-neural (ml.enabled = false)"
    end
    return true
end

-- Sends a command of an administrator; nil and a message when it was not carried out.
local function command(method, path, body, timeout_ms)
    local able, message = enabled(COMMAND_MS)
    if not able then
        return nil, message
    end
    local answer, refused = client.send({
        method = method, path = path, body = body, timeout_ms = timeout_ms or COMMAND_MS, admin = true,
    })
    return answer, refused
end

-- Switches learning mode of the fleet. Returns the mode that holds afterwards and nil; false and a message otherwise.
-- Without a trained model it stays true.
function neural.set_learning_mode(...)
    if select("#", ...) == 0 then
        error("missing required parameter: enabled", 2)
    end
    local wanted = (...) and true or false
    local answer, message = command("PUT", "/v1/learning-mode", { enabled = wanted })
    if answer == nil then
        return false, message
    end
    if type(answer.learning_mode) ~= "boolean" then
        return false, "nauthilus-neural did not say which mode holds"
    end
    return answer.learning_mode, nil
end

-- Whether rules alone decide at the moment: learning mode, no model, dry run, machine learning disabled, daemon away.
function neural.get_learning_mode()
    -- Scripts ask this in a login.
    local answer = client.send({ method = "GET", path = "/v1/learning-mode", timeout_ms = client.login_ms() })
    return answer == nil or answer.learning_mode ~= false or answer.enabled == false
end

-- A whole number from an optional argument; raises for one below 1.
local function whole(value, default, name)
    if type(value) ~= "number" then
        return default
    end
    -- Written this way round so that 0/0 is refused as well.
    if not (value >= 1 and value < math.huge) then
        error(name .. " must be greater than 0", 3)
    end
    return math.floor(value)
end

-- Trains now and waits for the end. Returns true and nil when a model was trained; false and a message otherwise.
function neural.train_neural_network(max_samples, epochs)
    local body = { samples = whole(max_samples, 5000, "maxSamples"), epochs = whole(epochs, 50, "epochs") }
    local answer, message = command("POST", "/v1/train", body, TRAIN_MS)
    if answer == nil then
        return false, message
    end
    -- A candidate is a trained model that waits for a person (training.approval = "manual").
    if answer.outcome == "promoted" or answer.outcome == "candidate" then
        return true, nil
    end
    return false, client.clean(tostring(answer.outcome) .. ": " .. tostring(answer.reason), TEXT_MAX)
end

-- Leaves the fleet without a model. Returns true and nil, or false and a message.
function neural.reset_neural_network()
    local answer, message = command("POST", "/v1/reset")
    if answer == nil then
        return false, message
    end
    return true, nil
end

-- Removes additional features, and the model that has learnt from them. Returns true and nil, or false and a message.
function neural.remove_features_from_redis(list)
    if type(list) ~= "table" then
        error("bad argument #1 to remove_features_from_redis (table expected, got " .. type(list) .. ")", 2)
    end
    local names = {}
    for _, name in pairs(list) do
        if type(name) == "string" then
            names[#names + 1] = name
        end
    end
    table.sort(names)
    if #names == 0 then
        error("no feature names provided", 2)
    end
    local answer, message = command("DELETE", "/v1/features", { names = names })
    if answer == nil then
        return false, message
    end
    return true, nil
end

-- A required text; raises when it is none.
local function text(value, name)
    if type(value) == "number" then
        value = tostring(value)
    end
    if type(value) ~= "string" or value == "" then
        error(name .. " cannot be empty", 3)
    end
    return value
end

-- Tells what a request really was. Returns true and nil when the daemon has recorded it; false and a message otherwise.
function neural.provide_feedback(...)
    if select("#", ...) < 4 then
        error("missing required parameters: isBruteForce, requestId, clientIP, username", 2)
    end
    local is_brute_force, request_id, client_ip, username = ...
    local answer, message = command("POST", "/v1/feedback", {
        is_brute_force = is_brute_force and true or false,
        request_id = text(request_id, "requestId"),
        client_ip = text(client_ip, "clientIP"),
        username = text(username, "username"),
    })
    if answer == nil then
        return false, message
    end
    if answer.status ~= "recorded" then
        return false, "nauthilus-neural did not record the feedback"
    end
    return true, nil
end

return neural
