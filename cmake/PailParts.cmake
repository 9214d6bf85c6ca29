# SPDX-License-Identifier: MIT
# How every part is compiled: C11, strict warnings, hardening in release,
# sanitizers by PAIL_SANITIZE (a list as gcc's -fsanitize takes it).

set(CMAKE_C_STANDARD 11)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(PAIL_SANITIZE "" CACHE STRING "sanitizers for everything but the preloaded shim and the server's malloc")
option(PAIL_FUZZ "build the fuzz targets with libFuzzer (clang)" OFF)
option(PAIL_WERROR "warnings are errors" OFF)

set(PAIL_WARNINGS -Wall -Wextra -Wshadow -Wconversion -Wsign-conversion -Wstrict-prototypes
	-Wmissing-prototypes -Wvla -Wundef -Wpointer-arith -Wwrite-strings)
if(PAIL_WERROR)
	list(APPEND PAIL_WARNINGS -Werror)
endif()
set(PAIL_HARDENING -fstack-clash-protection -fstack-protector-strong)
if(NOT CMAKE_BUILD_TYPE STREQUAL "Debug")
	list(APPEND PAIL_HARDENING -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2)
endif()
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64")
	list(APPEND PAIL_HARDENING -fcf-protection)
endif()
# No link-time optimisation: the grid ran at 0.86 to 0.98 of its speed with it,
# the arena's replay as fast within the noise (tests/bench, gcc 12). Whoever
# wants it has -DCMAKE_INTERPROCEDURAL_OPTIMIZATION=ON.
# Asserts stay on in every build: our own bug must not run on.
foreach(language C ASM)
	foreach(build RELEASE RELWITHDEBINFO MINSIZEREL)
		string(REPLACE "-DNDEBUG" "" CMAKE_${language}_FLAGS_${build} "${CMAKE_${language}_FLAGS_${build}}")
	endforeach()
endforeach()

# pail_compile(TARGET [PLAIN]): the flags of the house. PLAIN leaves the
# sanitizers out, for code that lives inside someone else's process, and names
# what base/banned.h forbids.
function(pail_compile target)
	cmake_parse_arguments(arg "PLAIN" "" "" ${ARGN})
	target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR} ${PROJECT_SOURCE_DIR}/include)
	target_compile_definitions(${target} PRIVATE _GNU_SOURCE PAIL_VERSION="${PROJECT_VERSION}")
	target_compile_options(${target} PRIVATE ${PAIL_WARNINGS} ${PAIL_HARDENING} -fno-omit-frame-pointer)
	if(NOT arg_PLAIN)
		target_compile_options(${target} PRIVATE
			"$<$<COMPILE_LANGUAGE:C>:SHELL:-include \"${PROJECT_SOURCE_DIR}/base/banned.h\">")
	endif()
	get_target_property(type ${target} TYPE)
	if(PAIL_FUZZ AND NOT arg_PLAIN)
		# the fuzzer is guided by what the parts cover, not the target alone
		target_compile_options(${target} PRIVATE -fsanitize=fuzzer-no-link)
	endif()
	if(PAIL_SANITIZE AND NOT arg_PLAIN)
		target_compile_options(${target} PRIVATE -fsanitize=${PAIL_SANITIZE} -fno-sanitize-recover=undefined)
		target_link_options(${target} PUBLIC -fsanitize=${PAIL_SANITIZE})
	endif()
	if(type STREQUAL "EXECUTABLE" OR type STREQUAL "SHARED_LIBRARY" OR type STREQUAL "MODULE_LIBRARY")
		target_link_options(${target} PRIVATE -Wl,-z,relro,-z,now)
	endif()
endfunction()

# pail_part(NAME SOURCES ... LINKS ...): one static library per part. LINKS
# names the only parts and libraries that it may use.
function(pail_part name)
	cmake_parse_arguments(arg "" "" "SOURCES;LINKS;PRIVATE_LINKS" ${ARGN})
	add_library(${name} STATIC ${arg_SOURCES})
	pail_compile(${name})
	target_link_libraries(${name} PUBLIC ${arg_LINKS} PRIVATE ${arg_PRIVATE_LINKS})
endfunction()

# pail_test(NAME SOURCES ... LINKS ... [LABELS ...]): a cmocka program and its ctest.
# A test with the label `tsan` is run under TSan as well (target tsan_tests).
add_custom_target(tsan_tests)
function(pail_test name)
	cmake_parse_arguments(arg "" "TIMEOUT" "SOURCES;LINKS;LABELS" ${ARGN})
	add_executable(${name} ${arg_SOURCES})
	pail_compile(${name})
	target_link_libraries(${name} PRIVATE ${arg_LINKS} PkgConfig::CMOCKA)
	add_test(NAME ${name} COMMAND ${name} WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
	if("tsan" IN_LIST arg_LABELS)
		add_dependencies(tsan_tests ${name})
	endif()
	if(NOT arg_TIMEOUT)
		set(arg_TIMEOUT 120)
	endif()
	set_tests_properties(${name} PROPERTIES TIMEOUT ${arg_TIMEOUT} LABELS "${arg_LABELS}")
endfunction()

if(BUILD_TESTING)
	pkg_check_modules(CMOCKA REQUIRED IMPORTED_TARGET cmocka)
endif()
pkg_check_modules(SQLITE REQUIRED IMPORTED_TARGET sqlite3)
pkg_check_modules(ZSTD REQUIRED IMPORTED_TARGET libzstd)
pkg_check_modules(NETTLE REQUIRED IMPORTED_TARGET nettle)
pkg_check_modules(GSL REQUIRED IMPORTED_TARGET gsl)
pkg_check_modules(INIH REQUIRED IMPORTED_TARGET inih)
pkg_check_modules(SECCOMP REQUIRED IMPORTED_TARGET libseccomp)
pkg_check_modules(ELF REQUIRED IMPORTED_TARGET libelf)
pkg_check_modules(DW REQUIRED IMPORTED_TARGET libdw)

# The build tree has the layout of an installation, so that the commands find
# each other in the same way in both (cli_locate()).
set(PAIL_BIN_DIR ${PROJECT_BINARY_DIR}/bin)
set(PAIL_LIBEXEC_DIR ${PROJECT_BINARY_DIR}/libexec/pail)
set(PAIL_LIB_DIR ${PROJECT_BINARY_DIR}/lib/pail)
