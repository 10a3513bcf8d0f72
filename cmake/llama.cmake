# llama.cpp and its common library, built once with g++ in Release and shared by every preset:
# a sanitizer or clang build of ours links the same archives. Gives the target llama_cpp.
# Its sources come from third_party/Cargo.lock, or from LLORCH_LLAMA_CPP_DIR (bench/compare.sh).
set(LLORCH_LLAMA_CPP_DIR "" CACHE PATH "another tree of llama.cpp; empty = the pinned one")
option(LLORCH_CUDA "llama.cpp with CUDA (NVIDIA)" OFF)
option(LLORCH_METAL "llama.cpp with Metal (Apple)" OFF)
option(LLORCH_VULKAN "llama.cpp with Vulkan" OFF)
option(LLORCH_NATIVE "use every instruction of this machine's processor" ON)

set(llama_dir "${LLORCH_LLAMA_CPP_DIR}")
if(NOT llama_dir)
  set(llama_dir "${CMAKE_SOURCE_DIR}/third_party/vendor/llama-cpp-sys-2/llama.cpp")
endif()
if(NOT EXISTS "${llama_dir}/CMakeLists.txt")
  message(FATAL_ERROR "llama.cpp is not at ${llama_dir}. Next: tools/setup.sh")
endif()
file(SHA256 "${CMAKE_SOURCE_DIR}/third_party/Cargo.lock" lock_hash)
# Ours, each with its reason in third_party/README.md. Off: the library as it is published.
option(LLORCH_LLAMA_PATCHES "apply third_party/patches to llama.cpp" ON)
set(patches "")
set(patches_hash "")
if(LLORCH_LLAMA_PATCHES)
  file(GLOB patches CONFIGURE_DEPENDS "${CMAKE_SOURCE_DIR}/third_party/patches/*.patch")
endif()
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${patches})
foreach(patch IN LISTS patches)
  file(SHA256 "${patch}" hash)
  string(APPEND patches_hash " ${hash}")
endforeach()
string(SHA256 key "${llama_dir} ${lock_hash}${patches_hash} ${LLORCH_CUDA} ${LLORCH_METAL} ${LLORCH_VULKAN} ${LLORCH_NATIVE}")
string(SUBSTRING "${key}" 0 12 key)
# Names the sources, patches included: what the engine writes to disk is for the same ones only.
string(SHA256 llama_source "${lock_hash}${patches_hash} ${LLORCH_LLAMA_CPP_DIR}")
string(SUBSTRING "${llama_source}" 0 12 llama_source)
set(llama_build "${CMAKE_SOURCE_DIR}/build/llama/${key}")

file(MAKE_DIRECTORY "${llama_build}")
file(LOCK "${llama_build}/lock" GUARD FILE TIMEOUT 1800)
if(patches)
  # In a copy: the sources of others stay as they came, and a server to compare with has none of it.
  if(NOT EXISTS "${llama_build}/patched")
    file(REMOVE_RECURSE "${llama_build}/tree")
    file(COPY "${llama_dir}/" DESTINATION "${llama_build}/tree" PATTERN ".git" EXCLUDE)
    foreach(patch IN LISTS patches)
      execute_process(COMMAND patch -p1 --forward --input "${patch}" WORKING_DIRECTORY "${llama_build}/tree"
                      OUTPUT_VARIABLE said ERROR_VARIABLE said RESULT_VARIABLE failed)
      if(failed)
        message(FATAL_ERROR "${patch} does not apply to ${llama_dir}: ${said}"
                "Next: -DLLORCH_LLAMA_PATCHES=OFF builds without it")
      endif()
    endforeach()
    file(TOUCH "${llama_build}/patched")
  endif()
  set(llama_dir "${llama_build}/tree")
endif()
if(NOT EXISTS "${llama_build}/done")
  message(STATUS "Building llama.cpp once, about 5 minutes on 2 cores (log: ${llama_build}/log)")
  find_program(llama_cc NAMES gcc-12 gcc cc REQUIRED)
  find_program(llama_cxx NAMES g++-12 g++ c++ REQUIRED)
  set(options
      -DCMAKE_BUILD_TYPE=Release -DCMAKE_C_COMPILER=${llama_cc} -DCMAKE_CXX_COMPILER=${llama_cxx}
      -DBUILD_SHARED_LIBS=OFF -DCMAKE_POSITION_INDEPENDENT_CODE=ON
      -DLLAMA_BUILD_COMMON=ON -DLLAMA_BUILD_TOOLS=OFF -DLLAMA_BUILD_SERVER=OFF
      -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_APP=OFF -DLLAMA_BUILD_UI=OFF
      -DLLAMA_OPENSSL=OFF -DLLAMA_CURL=OFF
      -DGGML_OPENMP=OFF  # our thread pool runs at low priority, so the network thread wins
      -DGGML_NATIVE=${LLORCH_NATIVE} -DGGML_CUDA=${LLORCH_CUDA} -DGGML_METAL=${LLORCH_METAL}
      -DGGML_VULKAN=${LLORCH_VULKAN})
  if(LLORCH_CCACHE)
    list(APPEND options -DCMAKE_C_COMPILER_LAUNCHER=${LLORCH_CCACHE}
         -DCMAKE_CXX_COMPILER_LAUNCHER=${LLORCH_CCACHE})
  endif()
  set(ENV{CCACHE_NOHASHDIR} 1)
  set(ENV{CCACHE_BASEDIR} "${CMAKE_SOURCE_DIR}")
  execute_process(COMMAND ${CMAKE_COMMAND} -S "${llama_dir}" -B "${llama_build}" -G Ninja ${options}
                  OUTPUT_FILE "${llama_build}/log" ERROR_FILE "${llama_build}/log" RESULT_VARIABLE failed)
  if(NOT failed)
    execute_process(COMMAND ${CMAKE_COMMAND} --build "${llama_build}" --target llama llama-common
                    OUTPUT_FILE "${llama_build}/log" ERROR_FILE "${llama_build}/log" RESULT_VARIABLE failed)
  endif()
  if(failed)
    message(FATAL_ERROR "llama.cpp did not build. Next: read ${llama_build}/log")
  endif()
  file(TOUCH "${llama_build}/done")
endif()

# The archives depend on each other in circles (backends register with the core): one group.
file(GLOB_RECURSE llama_archives "${llama_build}/common/*.a" "${llama_build}/src/*.a"
     "${llama_build}/ggml/*.a" "${llama_build}/vendor/*.a")
add_library(llama_cpp INTERFACE)
if(patches)
  target_compile_definitions(llama_cpp INTERFACE LLORCH_LLAMA_PATCHED)
endif()
# src comes last: its unicode.h must not hide common's. Only engine/gbnf.cpp reads from there.
target_include_directories(llama_cpp SYSTEM INTERFACE "${llama_dir}/include" "${llama_dir}/common"
                           "${llama_dir}/ggml/include" "${llama_dir}/vendor" "${llama_dir}/src")
if(APPLE)
  target_link_libraries(llama_cpp INTERFACE ${llama_archives} "-framework Accelerate")
else()
  target_link_libraries(llama_cpp INTERFACE -Wl,--start-group ${llama_archives} -Wl,--end-group)
endif()
target_link_libraries(llama_cpp INTERFACE Threads::Threads ${CMAKE_DL_LIBS})
if(LLORCH_CUDA)
  find_package(CUDAToolkit REQUIRED)
  target_link_libraries(llama_cpp INTERFACE CUDA::cudart_static CUDA::cublas CUDA::cublasLt CUDA::cuda_driver)
endif()
if(LLORCH_VULKAN)
  find_package(Vulkan REQUIRED)
  target_link_libraries(llama_cpp INTERFACE Vulkan::Vulkan)
endif()
if(LLORCH_METAL)
  target_link_libraries(llama_cpp INTERFACE "-framework Foundation" "-framework Metal" "-framework MetalKit")
endif()
