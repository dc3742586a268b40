# Warnings, sanitizers and tests, the same for every target.

add_library(regard_flags INTERFACE)
target_compile_options(regard_flags INTERFACE -Wall -Wextra -Wpedantic -Wshadow $<$<BOOL:${REGARD_WERROR}>:-Werror>)
# GCC 12 sees an overlapping copy in "text" + std::string at -O3 where there is none (GCC bug 105651).
target_compile_options(regard_flags INTERFACE $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict>)
if(REGARD_SANITIZE)
  target_compile_options(regard_flags INTERFACE -fsanitize=${REGARD_SANITIZE} -fno-omit-frame-pointer)
  target_link_options(regard_flags INTERFACE -fsanitize=${REGARD_SANITIZE})
  if(REGARD_SANITIZE STREQUAL "undefined")
    target_compile_options(regard_flags INTERFACE -fno-sanitize-recover=all)
  endif()
endif()

# regard_test(NAME SOURCE... LIBS LIB... [LABELS LABEL...] [TIMEOUT SECONDS]): one GoogleTest program, registered with
# CTest as one test.
function(regard_test name)
  cmake_parse_arguments(arg "" "TIMEOUT" "LIBS;LABELS" ${ARGN})
  add_executable(${name} ${arg_UNPARSED_ARGUMENTS})
  target_link_libraries(${name} PRIVATE ${arg_LIBS} regard_flags GTest::gtest GTest::gmock GTest::gtest_main)
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR})
  target_compile_definitions(${name} PRIVATE REGARD_TEST_DATA="${PROJECT_SOURCE_DIR}/tests/data")
  add_test(NAME ${name} COMMAND ${name})
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 300)
  endif()
  # Tests ask for impossible amounts of memory on purpose; a sanitizer must then answer as malloc does.
  set_property(TEST ${name} APPEND PROPERTY ENVIRONMENT ASAN_OPTIONS=allocator_may_return_null=1
               TSAN_OPTIONS=allocator_may_return_null=1)
  set_tests_properties(${name} PROPERTIES TIMEOUT ${arg_TIMEOUT} LABELS "${arg_LABELS}")
endfunction()
