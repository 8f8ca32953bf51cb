# cmake -DNAME=symbol -DHEADER=a/b.hpp -DIN=file -DOUT=file.cpp -P EmbedBytes.cmake: NAME(), the octets of a file as a
# function of namespace sallyport that returns a std::string_view; HEADER declares it.
file(READ ${IN} hex HEX)
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," octets "${hex}")
string(REGEX REPLACE "((0x..,){24})" "\\1\n" octets "${octets}")
file(WRITE ${OUT} "#include \"${HEADER}\"\n\nnamespace sallyport {\nnamespace {\n\nconstexpr unsigned char kOctets[] = {\n${octets}};\n\n}  // namespace\n\nstd::string_view ${NAME}() noexcept { return {reinterpret_cast<const char*>(kOctets), sizeof kOctets}; }\n\n}  // namespace sallyport\n")
