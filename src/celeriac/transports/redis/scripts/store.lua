-- Store results and tell those who wait for them.
--
-- ARGV: for each result: key, seconds that it is kept (0: for ever), document

for i = 1, #ARGV, 3 do
  store_result(ARGV[i], ARGV[i + 1], ARGV[i + 2])
end
return 1
