-- What the five hook scripts share: hands a hook's parameters to the daemon's hook of the same name, and its JSON back.
-- Lua 5.1.
--
-- Looks at no parameter: the daemon checks them, so that its word is the same over HTTP and through Nauthilus. Where the
-- daemon gives no answer of a hook, the script gets the JSON that Nauthilus 1.7 documents for a failure.

local hook = {}

-- Time of an ordinary hook, and of one that trains: Nauthilus ends scripts after 120 seconds.
hook.QUICK_MS = 10000
hook.TRAIN_MS = 110000

-- Whether an answer is one of a hook and not a problem of HTTP: those have a number as status.
local function of_a_hook(answer)
    return type(answer) == "table" and next(answer) ~= nil and answer[1] == nil and type(answer.status) ~= "number"
end

-- The parameters of `names` that the request has; nil when they cannot be read, because a hook without its parameters
-- would do something else. Nauthilus answers an empty text for missing ones.
local function parameters(request, names)
    local found = {}
    for _, name in ipairs(names) do
        local ok, value = pcall(request.get_http_query_param, name)
        if not ok then
            return nil
        end
        if type(value) == "string" and value ~= "" then
            found[name] = value
        end
    end
    return found
end

-- Runs one hook. `call` has `name` (as in the address), `parameters` (their names), `timeout_ms`, and `failed`: a
-- function that puts message and parameters of the documented failure into a table. `session` is the request's.
function hook.run(call, session)
    local result
    local client = require("nauthilus_neural_client")
    local request, message = client.module("nauthilus_http_request")
    local given = request ~= nil and parameters(request, call.parameters) or nil
    if given == nil then
        message = message or "this Nauthilus does not tell hooks their parameters"
    else
        local query = {}
        for _, name in ipairs(call.parameters) do
            if given[name] ~= nil then
                query[#query + 1] = name .. "=" .. client.escape(given[name])
            end
        end
        local path = "/api/v1/custom/" .. call.name
        if #query > 0 then
            path = path .. "?" .. table.concat(query, "&")
        end
        local ok, method = pcall(request.get_http_method)
        local answer, refused, _, details = client.send({
            method = ok and method == "POST" and "POST" or "GET",
            path = path, timeout_ms = call.timeout_ms, admin = true,
        })
        -- A hook's own error may come with an HTTP status that says so.
        result, message = answer or details, refused
        if not of_a_hook(result) then
            result, message = nil, message or "nauthilus-neural answered with something that is no answer of a hook"
        end
    end
    if result == nil then
        result = { level = "error", status = "error", error = message }
        call.failed(result, given or {})
    end
    -- The lines that Nauthilus 1.7 put into every answer.
    result.level = result.level or (result.status == "error" and "error" or "info")
    result.caller = result.caller or (call.name .. ".lua")
    result.session = result.session or session
    return result
end

-- The session of a hook: its second argument up to Nauthilus 1.11, a field of the first one later.
function hook.session(first, second)
    if type(second) == "string" then
        return second
    end
    return type(first) == "table" and first.session or nil
end

-- Copies parameters into a failure, as they were given.
function hook.copy(result, given, names)
    for _, name in ipairs(names) do
        result[name] = given[name]
    end
end

-- A number from a parameter; the text itself when it is none, `default` when it is missing.
function hook.number(text, default)
    if text == nil then
        return default
    end
    return tonumber(text) or text
end

return hook
