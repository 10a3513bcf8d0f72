# llorch_library(NAME SOURCES ... DEPENDS ...): the static library llorch_NAME of folder src/NAME.
function(llorch_library name)
  cmake_parse_arguments(arg "" "" "SOURCES;DEPENDS" ${ARGN})
  add_library(llorch_${name} STATIC ${arg_SOURCES})
  target_link_libraries(llorch_${name} PUBLIC llorch_flags ${arg_DEPENDS})
endfunction()

# llorch_program(NAME SOURCES ... DEPENDS ...): a program in LLORCH_BIN_DIR.
function(llorch_program name)
  cmake_parse_arguments(arg "" "" "SOURCES;DEPENDS" ${ARGN})
  add_executable(${name} ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE llorch_flags ${arg_DEPENDS})
endfunction()

# llorch_test(NAME SOURCES ... DEPENDS ...): one GoogleTest program NAME_test, run whole by ctest
# under a limit of seconds, so that no test can hang a build.
function(llorch_test name)
  if(NOT LLORCH_TESTS)
    return()
  endif()
  cmake_parse_arguments(arg "" "TIMEOUT" "SOURCES;DEPENDS" ${ARGN})
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 120)
  endif()
  find_package(GTest REQUIRED)
  add_executable(${name}_test ${arg_SOURCES})
  set_target_properties(${name}_test PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/tests")
  target_link_libraries(${name}_test PRIVATE llorch_flags ${arg_DEPENDS} GTest::gtest GTest::gtest_main)
  target_include_directories(${name}_test PRIVATE "${CMAKE_SOURCE_DIR}/tests")
  add_test(NAME ${name} COMMAND ${name}_test)
  set_tests_properties(${name} PROPERTIES TIMEOUT ${arg_TIMEOUT})
endfunction()

# llorch_fuzz(NAME SOURCES ... DEPENDS ...): one libFuzzer target, built by the fuzz preset only.
function(llorch_fuzz name)
  if(NOT LLORCH_FUZZ)
    return()
  endif()
  cmake_parse_arguments(arg "" "" "SOURCES;DEPENDS" ${ARGN})
  add_executable(fuzz_${name} ${arg_SOURCES})
  set_target_properties(fuzz_${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/fuzz")
  target_link_libraries(fuzz_${name} PRIVATE llorch_flags ${arg_DEPENDS})
  target_link_options(fuzz_${name} PRIVATE -fsanitize=fuzzer)
endfunction()

if(LLORCH_TESTS)
  enable_testing()
endif()
