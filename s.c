#include "scalar.h"
void v_exp(const float*restrict x,const float*restrict z, float*restrict y,long n){ for(long i=0;i<n;i++) y[i]=knet_exp_f32(x[i]); }
void v_exp2(const float*restrict x,const float*restrict z, float*restrict y,long n){ for(long i=0;i<n;i++) y[i]=knet_exp2_f32(x[i]); }
void v_expm1(const float*restrict x,const float*restrict z, float*restrict y,long n){ for(long i=0;i<n;i++) y[i]=knet_expm1_f32(x[i]); }
void v_log(const float*restrict x,const float*restrict z, float*restrict y,long n){ for(long i=0;i<n;i++) y[i]=knet_log_f32(x[i]); }
void v_log2(const float*restrict x,const float*restrict z, float*restrict y,long n){ for(long i=0;i<n;i++) y[i]=knet_log2_f32(x[i]); }
void v_log10(const float*restrict x,const float*restrict z, float*restrict y,long n){ for(long i=0;i<n;i++) y[i]=knet_log10_f32(x[i]); }
void v_log1p(const float*restrict x,const float*restrict z, float*restrict y,long n){ for(long i=0;i<n;i++) y[i]=knet_log1p_f32(x[i]); }
void v_tanh(const float*restrict x,const float*restrict z, float*restrict y,long n){ for(long i=0;i<n;i++) y[i]=knet_tanh_f32(x[i]); }
void v_erf(const float*restrict x,const float*restrict z, float*restrict y,long n){ for(long i=0;i<n;i++) y[i]=knet_erf_f32(x[i]); }
void v_sin(const float*restrict x,const float*restrict z, float*restrict y,long n){ for(long i=0;i<n;i++) y[i]=knet_sin_f32(x[i]); }
void v_cos(const float*restrict x,const float*restrict z, float*restrict y,long n){ for(long i=0;i<n;i++) y[i]=knet_cos_f32(x[i]); }
void v_sqrt(const float*restrict x,const float*restrict z, float*restrict y,long n){ for(long i=0;i<n;i++) y[i]=knet_sqrt_f32(x[i]); }
void v_rint(const float*restrict x,const float*restrict z, float*restrict y,long n){ for(long i=0;i<n;i++) y[i]=knet_rint_f32(x[i]); }
void v_floor(const float*restrict x,const float*restrict z, float*restrict y,long n){ for(long i=0;i<n;i++) y[i]=knet_floor_f32(x[i]); }
void v_ceil(const float*restrict x,const float*restrict z, float*restrict y,long n){ for(long i=0;i<n;i++) y[i]=knet_ceil_f32(x[i]); }
void v_trunc(const float*restrict x,const float*restrict z, float*restrict y,long n){ for(long i=0;i<n;i++) y[i]=knet_trunc_f32(x[i]); }
void v_fabs(const float*restrict x,const float*restrict z, float*restrict y,long n){ for(long i=0;i<n;i++) y[i]=knet_fabs_f32(x[i]); }
void v_tan(const float*restrict x,const float*restrict z, float*restrict y,long n){ for(long i=0;i<n;i++) y[i]=knet_tan_f32(x[i]); }
void v_asin(const float*restrict x,const float*restrict z, float*restrict y,long n){ for(long i=0;i<n;i++) y[i]=knet_asin_f32(x[i]); }
void v_lgamma(const float*restrict x,const float*restrict z, float*restrict y,long n){ for(long i=0;i<n;i++) y[i]=knet_lgamma_f32(x[i]); }
void v_pow(const float*restrict x,const float*restrict z, float*restrict y,long n){ for(long i=0;i<n;i++) y[i]=knet_pow_f32(x[i],z[i]); }
void v_fmax(const float*restrict x,const float*restrict z, float*restrict y,long n){ for(long i=0;i<n;i++) y[i]=knet_fmax_f32(x[i],z[i]); }
void v_fmin(const float*restrict x,const float*restrict z, float*restrict y,long n){ for(long i=0;i<n;i++) y[i]=knet_fmin_f32(x[i],z[i]); }
void v_hypot(const float*restrict x,const float*restrict z, float*restrict y,long n){ for(long i=0;i<n;i++) y[i]=knet_hypot_f32(x[i],z[i]); }
void v_sigmoid(const float*restrict x,const float*restrict z, float*restrict y,long n){ for(long i=0;i<n;i++) y[i]=1.0f/(1.0f+knet_exp_f32(-x[i])); }
void v_sumsq(const float*restrict x,const float*restrict z, float*restrict y,long n){ float s=0;
_Pragma("omp simd reduction(+:s)")
 for(long i=0;i<n;i++) s+=x[i]*x[i]; y[0]=s; }
void v_bf16(const float*restrict x,const float*restrict z, uint16_t*restrict y,long n){ for(long i=0;i<n;i++) y[i]=knet_store_bf16(x[i]); }
void v_f16(const float*restrict x,const float*restrict z, uint16_t*restrict y,long n){ for(long i=0;i<n;i++) y[i]=knet_store_f16(x[i]); }
void v_lbf16(const uint16_t*restrict x,const float*restrict z, float*restrict y,long n){ for(long i=0;i<n;i++) y[i]=knet_load_bf16(x[i]); }
void v_lf16(const uint16_t*restrict x,const float*restrict z, float*restrict y,long n){ for(long i=0;i<n;i++) y[i]=knet_load_f16(x[i]); }
