# Flags every target of ours shares. C++23 is set per target: llama.cpp's sources do not compile as C++23.
set(LLORCH_SANITIZE "" CACHE STRING "address,undefined | thread")
find_program(LLORCH_CCACHE ccache)
if(LLORCH_CCACHE)
  # Build folders and clones share one cache; precompiled headers need the sloppiness.
  set(launcher ${CMAKE_COMMAND} -E env CCACHE_NOHASHDIR=1 CCACHE_BASEDIR=${CMAKE_SOURCE_DIR}
      CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime ${LLORCH_CCACHE})
  set(CMAKE_C_COMPILER_LAUNCHER ${launcher})
  set(CMAKE_CXX_COMPILER_LAUNCHER ${launcher})
endif()
find_program(LLORCH_MOLD mold)

add_library(llorch_flags INTERFACE)
target_compile_features(llorch_flags INTERFACE cxx_std_23)
# Designated initialisers leave the rest to the defaults beside the fields: not worth a warning.
target_compile_options(llorch_flags INTERFACE -Wall -Wextra -Wshadow -Werror
                       -Wno-missing-field-initializers)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # g++ 12 sees overlaps in std::string's own operator+ that are not there, and at -O3 values of an
  # empty std::optional that nobody reads. clang and clang-tidy find the real ones.
  target_compile_options(llorch_flags INTERFACE -Wno-restrict -Wno-maybe-uninitialized)
elseif(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
  # std::stable_sort of libstdc++ 12 calls what C++17 deprecated.
  target_compile_options(llorch_flags INTERFACE -Wno-deprecated-declarations)
endif()
if(CMAKE_UNITY_BUILD)
  # Several sources as one: what one of them names is not what another's local name means to hide,
  # and an unnamed namespace is no header's. dev compiles each alone, with both warnings.
  target_compile_options(llorch_flags INTERFACE -Wno-shadow)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    target_compile_options(llorch_flags INTERFACE -Wno-subobject-linkage)
  endif()
endif()
target_include_directories(llorch_flags INTERFACE "${CMAKE_SOURCE_DIR}/src")
target_compile_definitions(llorch_flags INTERFACE BOOST_ASIO_NO_DEPRECATED)
if(LLORCH_MOLD)
  target_link_options(llorch_flags INTERFACE -fuse-ld=mold)
endif()
if(LLORCH_SANITIZE)
  add_compile_options(-fsanitize=${LLORCH_SANITIZE} -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${LLORCH_SANITIZE})
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # A check at every use of a pointer is two fifths of g++'s time here. ASan stops at a null pointer
    # all the same, and the fuzz targets, built by clang, keep both.
    add_compile_options(-fno-sanitize=null,alignment)
  endif()
endif()
if(LLORCH_FUZZ)
  add_compile_options(-fsanitize=fuzzer-no-link)  # or libFuzzer is blind to our libraries
endif()
find_package(Threads REQUIRED)
find_package(fmt REQUIRED)
