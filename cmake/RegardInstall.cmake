# The library, its headers, and the two ways to find them: find_package(regard) and pkg-config regard. Both are
# relocatable: a prefix may be moved as a whole.
include(CMakePackageConfigHelpers)

install(TARGETS regard EXPORT regard-targets LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
                                             ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/regard DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h")

set(regard_package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/regard)
install(EXPORT regard-targets NAMESPACE regard:: DESTINATION ${regard_package_dir})
configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/regard-config.cmake.in ${PROJECT_BINARY_DIR}/regard-config.cmake
                              INSTALL_DESTINATION ${regard_package_dir})
# Before 1.0 a minor version may break its users.
write_basic_package_version_file(${PROJECT_BINARY_DIR}/regard-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/regard-config.cmake ${PROJECT_BINARY_DIR}/regard-config-version.cmake
        DESTINATION ${regard_package_dir})

set(regard_pc_dir ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
file(RELATIVE_PATH REGARD_PC_PREFIX /prefix/${regard_pc_dir} /prefix)
configure_file(${CMAKE_CURRENT_LIST_DIR}/regard.pc.in ${PROJECT_BINARY_DIR}/regard.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/regard.pc DESTINATION ${regard_pc_dir})
