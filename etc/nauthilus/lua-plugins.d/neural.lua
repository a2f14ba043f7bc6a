-- Asks nauthilus-neural about a login before its password is checked, and tells it afterwards what became of it.
-- Lua 5.1; one file for a feature (Nauthilus 1.8 to 2), an environment source (3) and a post action (all).
--
-- Fails open: whatever goes wrong, the login goes on as if nobody had been asked, at most NAUTHILUS_NEURAL_TIMEOUT_MS
-- (140 ms, so that with everything around it a login waits at most 150 ms) later. No error leaves this file, because Nauthilus would fail the login. Passwords never leave Nauthilus: the
-- daemon gets the eight digits that Nauthilus itself keeps of them.
--
-- Settings beside those of nauthilus_neural_client.lua and nauthilus_neural_origin.lua:
--   NAUTHILUS_NEURAL_FEATURES=off            do not add the features `identifier` and `country_code`
--   NAUTHILUS_NEURAL_PASSWORD_TAG=off        do not send the eight digits
--   NAUTHILUS_NEURAL_POLICY_ATTRIBUTES=on    tell policies of Nauthilus 3; policy/neural-registry.lua must be listed first

-- Not even a missing file may fail a login.
local installed, client = pcall(require, "nauthilus_neural_client")
local complete, neural = pcall(require, "nauthilus_neural")
local located, origin = pcall(require, "nauthilus_neural_origin")

local VERDICTS = { allow = true, watch = true, step_up = true, block = true }
local REQUEST_KEY = "nauthilus_neural_request_id"
local MESSAGE = "Login refused because of suspicious activity"

-- Adds a field to the log line of the request.
local function log(name, value)
    if nauthilus_builtin ~= nil and nauthilus_builtin.custom_log_add ~= nil then
        pcall(nauthilus_builtin.custom_log_add, name, value)
    end
end

-- Whether a text of the request says something.
local function said(value)
    return type(value) == "string" and value ~= "" and value ~= "N/A"
end

-- An optional text of the request; nil when it is missing.
local function optional(value, longest)
    return said(value) and client.clean(value, longest) or nil
end

-- The eight digits that Nauthilus keeps of a password; nil where it has none. As a developer's build it would hand back
-- the password itself, which is why only eight digits go on.
local function password_tag(password)
    if type(password) ~= "string" or password == "" or client.setting("PASSWORD_TAG") == "off" then
        return nil
    end
    local passwords = client.module("nauthilus_password")
    if passwords == nil or passwords.generate_password_hash == nil then
        return nil
    end
    local ok, tag = pcall(passwords.generate_password_hash, password)
    if ok and type(tag) == "string" and tag ~= password and string.find(tag, "^%x%x%x%x%x%x%x%x$") then
        return string.lower(tag)
    end
    return nil
end

-- Features that a script of the site adds: nauthilus_neural_site.lua on the package path, with the function that
-- features of Nauthilus 1.7 had.
local function ask_site(request)
    local found, site = pcall(require, "nauthilus_neural_site")
    if not found then
        if string.find(tostring(site), "module nauthilus_neural_site not found", 1, true) == nil
            and string.find(tostring(site), "module 'nauthilus_neural_site' not found", 1, true) == nil then
            log("neural_error", "nauthilus_neural_site.lua cannot be loaded")
        end
        return
    end
    local call = nauthilus_call_neural_network
    if type(site) == "table" and site.nauthilus_call_neural_network ~= nil then
        call = site.nauthilus_call_neural_network
    end
    if type(call) == "function" and not pcall(call, request) then
        log("neural_error", "nauthilus_call_neural_network of the site failed")
    end
end

-- Adds the features that the sample scripts of Nauthilus 1.7 had; a script's own ones of the same names win.
local function add_own(attempt, features, encoding)
    local count = 0
    for _ in pairs(features) do
        count = count + 1
    end
    -- The daemon refuses an attempt with more than 64, and two come on top here.
    if count > 62 then
        return
    end
    if features.identifier == nil then
        features.identifier = client.clean(attempt.client_id or attempt.user_agent or "unknown", 256)
    end
    if features.country_code == nil then
        features.country_code = attempt.country or "unknown"
        encoding.country_code = "embedding"
    end
end

-- A request as an attempt record; nil when there is nobody to judge.
local function record(request, context)
    local client_ip, username = optional(request.client_ip, 64), request.username
    if client_ip == nil or type(username) ~= "string" or username == "" then
        return nil
    end
    local features, encoding = neural.features()
    local forwarded = origin.forwarded(client_ip, context)
    local country, region = origin.place(features, context, forwarded)
    local attempt = {
        request_id = optional(request.session, 256),
        client_ip = client_ip,
        username = username,
        account = optional(request.account, 1024),
        protocol = optional(request.protocol, 32),
        user_agent = optional(request.user_agent, 512),
        client_id = optional(request.client_id, 256),
        password_hash = password_tag(request.password),
        forwarded_ip = forwarded,
        country = country,
        region = region,
    }
    if client.setting("FEATURES") ~= "off" then
        add_own(attempt, features, encoding)
    end
    -- An empty table would become an empty list in JSON.
    attempt.features = next(features) ~= nil and features or nil
    attempt.encoding = next(encoding) ~= nil and encoding or nil
    return attempt
end

-- Tells policies of Nauthilus 3.
local function emit(verdict, probability)
    if client.setting("POLICY_ATTRIBUTES") ~= "on" then
        return
    end
    local policy = client.module("nauthilus_policy")
    if policy == nil or policy.emit_attribute == nil then
        return
    end
    pcall(policy.emit_attribute, { id = "lua.plugin.neural.verdict", value = verdict })
    if probability ~= nil then
        pcall(policy.emit_attribute, { id = "lua.plugin.neural.probability", value = probability })
    end
end

-- Asks the daemon. Returns whether the login must be refused.
local function judge(request)
    if request.no_auth then
        return false
    end
    local context = client.module("nauthilus_context")
    ask_site(request)
    local attempt = record(request, context)
    if attempt == nil then
        return false
    end
    if said(request.brute_force_bucket) then
        attempt.static_rule_triggered = true
    end
    local answer, message = client.send({
        method = "POST", path = "/v1/score", body = attempt, timeout_ms = client.login_ms(),
    })
    if answer == nil then
        log("neural_error", message)
        return false
    end
    local verdict, probability = answer.verdict, answer.probability
    if not VERDICTS[verdict] then
        log("neural_error", "nauthilus-neural answered without a verdict")
        return false
    end
    if type(probability) ~= "number" then
        probability = nil
    end

    log("neural_verdict", verdict)
    if probability ~= nil then
        log("ml_probability", string.format("%.2f", probability))
    end
    if context ~= nil then
        context.context_set("nauthilus_neural_verdict", verdict)
        if probability ~= nil then
            context.context_set("nauthilus_neural_probability", probability)
        end
        if type(answer.request_id) == "string" then
            context.context_set(REQUEST_KEY, answer.request_id)
        end
    end
    emit(verdict, probability)
    if verdict == "block" then
        pcall(nauthilus_builtin.status_message_set, MESSAGE)
    end
    return verdict == "block"
end

-- Tells the daemon what became of a login.
local function report(request)
    if request.no_auth or request.health_check then
        return
    end
    local context = client.module("nauthilus_context")
    local attempt = record(request, context)
    if attempt == nil then
        return
    end
    if attempt.request_id == nil and context ~= nil then
        attempt.request_id = context.context_get(REQUEST_KEY)
    end
    if attempt.request_id == nil then
        return
    end
    if type(request.user_found) == "boolean" then
        attempt.user_found = request.user_found
    end
    local by_rule = said(request.brute_force_bucket)
    if request.authenticated then
        attempt.success = true
    elseif by_rule or said(request.feature) or said(request.environment) or request.environment_rejected then
        -- Refused before the password was looked at: no failure of the user, and no label.
        attempt.blocked = true
        attempt.static_rule_triggered = by_rule or nil
    else
        attempt.success = false
    end
    local answer, message = client.send({
        method = "POST", path = "/v1/outcome", body = attempt, timeout_ms = client.login_ms(),
    })
    if answer == nil then
        log("neural_error", message)
    end
end

-- Calls `step` so that no error leaves it. Returns what it returns, or nil.
local function guarded(step, request)
    if not installed or not complete or not located then
        log("neural_error", "one of nauthilus_neural.lua, _client.lua and _origin.lua is not on the package path")
        return nil
    end
    local ok, result = pcall(step, request)
    if not ok then
        log("neural_error", "neural.lua failed: " .. client.clean(tostring(result), 300))
        return nil
    end
    return result
end

-- Nauthilus 1.8 to 2: a Lua feature.
function nauthilus_call_feature(request)
    local builtin = nauthilus_builtin
    if guarded(judge, request) then
        return builtin.FEATURE_TRIGGER_YES, builtin.FEATURES_ABORT_YES, builtin.FEATURE_RESULT_OK
    end
    return builtin.FEATURE_TRIGGER_NO, builtin.FEATURES_ABORT_NO, builtin.FEATURE_RESULT_OK
end

-- Nauthilus 3: a Lua environment source.
function nauthilus_call_environment(request)
    local builtin = nauthilus_builtin
    if guarded(judge, request) then
        return builtin.ENVIRONMENT_TRIGGER_YES, builtin.ENVIRONMENT_ABORT_YES, builtin.ENVIRONMENT_RESULT_OK
    end
    return builtin.ENVIRONMENT_TRIGGER_NO, builtin.ENVIRONMENT_ABORT_NO, builtin.ENVIRONMENT_RESULT_OK
end

-- All versions: an action of the type post.
function nauthilus_call_action(request)
    guarded(report, request)
    return nauthilus_builtin.ACTION_RESULT_OK
end
