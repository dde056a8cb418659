# cmake -DSOURCE=… -DTARGET=… -P embed.cmake: the source as a zero-terminated array of C.
file(READ ${SOURCE} bytes HEX)
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${bytes}")
string(REGEX REPLACE "(................................................................................)" "\\1\n" bytes "${bytes}")
file(WRITE ${TARGET} "extern const char oomtrace_python_part[];\nconst char oomtrace_python_part[] = {\n${bytes}0};\n")
