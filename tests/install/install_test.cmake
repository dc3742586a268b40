# Installs into a fresh prefix, moves it (a package must not remember where it was made), and lets two consumers use it.

function(run what)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(NOT result EQUAL 0)
    message(FATAL_ERROR "${what} failed (${result}):\n${output}")
  endif()
endfunction()

file(REMOVE_RECURSE ${WORK_DIR})
file(MAKE_DIRECTORY ${WORK_DIR})
run("installing src" ${CMAKE_COMMAND} -DCMAKE_INSTALL_PREFIX=${WORK_DIR}/first -P ${BUILD_DIR}/src/cmake_install.cmake)
file(RENAME ${WORK_DIR}/first ${WORK_DIR}/prefix)

run("configuring with find_package" ${CMAKE_COMMAND} -S ${CONSUMER_DIR} -B ${WORK_DIR}/build -G ${GENERATOR}
    -DCMAKE_PREFIX_PATH=${WORK_DIR}/prefix -DCMAKE_CXX_COMPILER=${CXX} "-DCMAKE_CXX_FLAGS=${FLAGS}")
run("building with find_package" ${CMAKE_COMMAND} --build ${WORK_DIR}/build)
run("running the consumer of find_package" ${WORK_DIR}/build/consumer)

find_program(PKG_CONFIG pkg-config)
if(NOT PKG_CONFIG)
  message(STATUS "pkg-config is not installed: its half of the test is skipped")
  return()
endif()
execute_process(COMMAND ${CMAKE_COMMAND} -E env PKG_CONFIG_PATH=${WORK_DIR}/prefix/${LIBDIR}/pkgconfig ${PKG_CONFIG} --cflags --libs regard
                OUTPUT_VARIABLE flags RESULT_VARIABLE result OUTPUT_STRIP_TRAILING_WHITESPACE)
if(NOT result EQUAL 0)
  message(FATAL_ERROR "pkg-config does not find regard")
endif()
separate_arguments(flags UNIX_COMMAND "${flags}")
separate_arguments(sanitizer UNIX_COMMAND "${FLAGS}")
run("compiling C with pkg-config" ${CC} ${sanitizer} ${CONSUMER_DIR}/consumer.c -o ${WORK_DIR}/c_consumer ${flags}
    -Wl,-rpath,${WORK_DIR}/prefix/${LIBDIR})
run("running the consumer of pkg-config" ${WORK_DIR}/c_consumer)
