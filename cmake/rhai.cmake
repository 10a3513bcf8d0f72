# The Rhai engine behind shim/rhai's C functions, built once by cargo from the sources in
# third_party/vendor, without a network, and shared by every preset. Gives the target llorch_rhai.
set(rhai_shim "${CMAKE_SOURCE_DIR}/shim/rhai")
set(rhai_vendor "${CMAKE_SOURCE_DIR}/third_party/vendor")
set(rhai_rust_minor_min 85)  # of the lock's format and of thin-vec

# Ubuntu's packages carry their version in the command's name, and their compiler's likewise.
function(rhai_find_cargo cargo_out rustc_out)
  set(names cargo)
  foreach(minor RANGE 99 ${rhai_rust_minor_min} -1)
    list(APPEND names cargo-1.${minor})
  endforeach()
  foreach(name IN LISTS names)
    find_program(found NAMES ${name} HINTS "$ENV{HOME}/.cargo/bin" NO_CACHE)
    if(found)
      execute_process(COMMAND "${found}" --version OUTPUT_VARIABLE version ERROR_QUIET)
      if(version MATCHES "^cargo 1\\.([0-9]+)" AND
         CMAKE_MATCH_1 GREATER_EQUAL ${rhai_rust_minor_min})
        set(${cargo_out} "${found}" PARENT_SCOPE)
        string(REGEX REPLACE "cargo((-1\\.[0-9]+)?)$" "rustc\\1" rustc "${found}")
        if(EXISTS "${rustc}")
          set(${rustc_out} "${rustc}" PARENT_SCOPE)
        endif()
        return()
      endif()
    endif()
    unset(found)
  endforeach()
endfunction()

file(GLOB rhai_sources CONFIGURE_DEPENDS "${rhai_shim}/src/*.rs")
list(APPEND rhai_sources "${rhai_shim}/Cargo.toml" "${rhai_shim}/Cargo.lock" "${rhai_shim}/llorch_rhai.h"
     "${CMAKE_SOURCE_DIR}/third_party/Cargo.lock" "${CMAKE_CURRENT_LIST_FILE}")
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${rhai_sources})
set(rhai_key "")
foreach(source IN LISTS rhai_sources)
  file(SHA256 "${source}" hash)
  string(APPEND rhai_key "${hash} ")
endforeach()
string(SHA256 rhai_key "${rhai_key}")
string(SUBSTRING "${rhai_key}" 0 12 rhai_key)
set(rhai_build "${CMAKE_SOURCE_DIR}/build/rhai/${rhai_key}")
set(rhai_archive "${rhai_build}/release/libllorch_rhai.a")

file(MAKE_DIRECTORY "${rhai_build}")
file(LOCK "${rhai_build}/lock" GUARD FILE TIMEOUT 1800)
if(NOT EXISTS "${rhai_build}/done")
  if(NOT EXISTS "${rhai_vendor}/rhai/Cargo.toml")
    message(FATAL_ERROR "Rhai is not at ${rhai_vendor}/rhai. Next: tools/setup.sh")
  endif()
  rhai_find_cargo(rhai_cargo rhai_rustc)
  if(NOT rhai_cargo)
    message(FATAL_ERROR "No cargo of 1.${rhai_rust_minor_min} or newer. Next: tools/setup.sh")
  endif()
  message(STATUS "Building Rhai once, about 2 minutes on 2 cores (log: ${rhai_build}/log)")
  # A cargo home of its own: no settings of the user's, no downloads. With the seed, two builds hash
  # alike, and no path of this machine gets into the archive.
  set(environment "CARGO_HOME=${rhai_build}/home" CONST_RANDOM_SEED=llorch
      "CARGO_ENCODED_RUSTFLAGS=--remap-path-prefix=${CMAKE_SOURCE_DIR}=llorch")
  if(rhai_rustc)
    list(APPEND environment "RUSTC=${rhai_rustc}")
  endif()
  execute_process(
    COMMAND ${CMAKE_COMMAND} -E env ${environment} "${rhai_cargo}" build --release --locked --offline
            --manifest-path "${rhai_shim}/Cargo.toml" --target-dir "${rhai_build}"
            --config "source.crates-io.replace-with=\"vendored\""
            --config "source.vendored.directory=\"${rhai_vendor}\""
    WORKING_DIRECTORY "${rhai_build}"
    OUTPUT_FILE "${rhai_build}/log" ERROR_FILE "${rhai_build}/log" RESULT_VARIABLE failed)
  if(failed OR NOT EXISTS "${rhai_archive}")
    message(FATAL_ERROR "Rhai did not build. Next: read ${rhai_build}/log")
  endif()
  file(TOUCH "${rhai_build}/done")
endif()

add_library(llorch_rhai INTERFACE)
target_include_directories(llorch_rhai INTERFACE "${rhai_shim}")
target_link_libraries(llorch_rhai INTERFACE "${rhai_archive}" Threads::Threads ${CMAKE_DL_LIBS} m)
