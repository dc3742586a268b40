# regard_warnings_are_errors(VARIABLE COMPILER_ID COMPILER_VERSION): ON for the compilers every change is built with. Another
# one may warn of what these do not, and a warning must not stop who only wants to use the program.
function(regard_warnings_are_errors variable id version)
  string(REGEX MATCH "^[0-9]+" major "${version}")
  set(${variable} OFF PARENT_SCOPE)
  if("${id} ${major}" STREQUAL "GNU 12" OR "${id} ${major}" STREQUAL "Clang 14")
    set(${variable} ON PARENT_SCOPE)
  endif()
endfunction()
