/* SPDX-License-Identifier: Apache-2.0
 *
 * oneDNN's functions, for dnnl.c alone. Its libraries take 5 ms and half a MiB to load, as much as a small model,
 * and few models need it: so where it is a shared library, it is loaded when the first product may be its.
 */
#ifndef GR_DNNL_CALLS_H
#define GR_DNNL_CALLS_H

#include <dlfcn.h>
#include <oneapi/dnnl/dnnl.h>

#define DNNL_ALWAYS(X)                                                                                                 \
    X(engine_create) X(get_effective_cpu_isa) X(get_primitive_cache_capacity) X(memory_create)                         \
    X(memory_desc_get_size) X(memory_destroy) X(memory_set_data_handle) X(primitive_attr_create)                       \
    X(primitive_attr_destroy) X(primitive_attr_set_scratchpad_mode) X(primitive_create) X(primitive_desc_destroy)      \
    X(primitive_desc_query) X(primitive_desc_query_md) X(primitive_destroy) X(primitive_execute)                       \
    X(set_primitive_cache_capacity) X(stream_create) X(stream_destroy) X(stream_wait) X(version)
#if DNNL_VERSION_MAJOR >= 3
#define DNNL_SOME(X) X(matmul_primitive_desc_create) X(memory_desc_create_with_strides) X(memory_desc_destroy)
#else
#define DNNL_SOME(X) X(matmul_desc_init) X(memory_desc_init_by_strides) X(primitive_desc_create)
#endif

#define DNNL_ALL(X) DNNL_ALWAYS(X) DNNL_SOME(X)

#define X(name) __typeof__(&dnnl_##name) name;
struct dnnl_calls { DNNL_ALL(X) };
#undef X

#ifdef GR_DNNL_SONAME
static struct dnnl_calls dnnl;

/* False: it is not there, or lacks a function. */
static bool dnnl_load(void)
{
    void *library = dlopen(GR_DNNL_SONAME, RTLD_LAZY | RTLD_LOCAL | RTLD_NODELETE);
    if (!library) library = dlopen(GR_DNNL_PATH, RTLD_LAZY | RTLD_LOCAL | RTLD_NODELETE);
#define X(name) && (*(void **)&dnnl.name = dlsym(library, "dnnl_" #name))
    return library DNNL_ALL(X);
#undef X
}
#else
#define X(name) dnnl_##name,
static const struct dnnl_calls dnnl = {DNNL_ALL(X)};
#undef X

static bool dnnl_load(void) { return true; }
#endif

#endif
