-- One change of one user: the record, its wake-up and its log entries, or nothing.
-- KEYS users wakes log meta
-- ARGV user expected next nonce value wake settled hint keep changes...
-- A value is a nonce of four bytes, a byte of format, and the version in the form of `expected` and `next`.
local current = redis.call('HGET', KEYS[1], ARGV[1])
local expected, following = ARGV[2], ARGV[3]
if current then
  if string.sub(current, 6, 5 + #expected) ~= expected then
    if string.sub(current, 1, 4) == ARGV[4] and string.sub(current, 6, 5 + #following) == following then
      -- Done already, and the answer was lost. Written again, so that there is something to wait for.
      redis.call('HSET', KEYS[1], ARGV[1], current)
      return {1, redis.call('HGET', KEYS[4], 'last') or '0'}
    end
    return {0}
  end
elseif expected ~= '\0' then
  return {0}
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[5])
if ARGV[6] == '' then
  redis.call('ZREM', KEYS[2], ARGV[1])
else
  redis.call('ZADD', KEYS[2], ARGV[6], ARGV[1])
end
local known = redis.call('HMGET', KEYS[4], 'settled', 'floor')
if not known[1] or known[1] < ARGV[7] then
  redis.call('HSET', KEYS[4], 'settled', ARGV[7])
end
local count = #ARGV - 9
if count == 0 then
  return {1, '0'}
end
local clock = redis.call('TIME')
local time = math.max(tonumber(known[2] or '0') + 1, tonumber(ARGV[8]) + 1, clock[1] * 1000000 + clock[2])
local text
for number = 1, count do
  text = string.format('%.0f', time + number - 1)
  redis.call('XADD', KEYS[3], text .. '-0', 'c', ARGV[9 + number])
end
redis.call('HSET', KEYS[4], 'floor', text, 'last', text)
local keep = tonumber(ARGV[9])
local excess = redis.call('XLEN', KEYS[3]) - keep
if excess > 0 and excess >= math.min(keep, 128) / 4 then
  local gone = redis.call('XRANGE', KEYS[3], '-', '+', 'COUNT', excess)
  local trimmed = string.match(gone[#gone][1], '^%d+')
  redis.call('XTRIM', KEYS[3], 'MINID', string.format('%.0f', tonumber(trimmed) + 1))
  redis.call('HSET', KEYS[4], 'trimmed', trimmed)
end
return {1, text}
